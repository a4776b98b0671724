"""What a spec.json says of a folder of records: constants, visual streams, shards."""

import dataclasses
from typing import Any

from avl_tf import fields
from avl_tf.errors import UserError
from avl_tf.settings.audio import AUDIO_CHECK, AudioConfig
from avl_tf.settings.stored import FEATURES_CHECK, STORAGES, FeatureSpec

# 1: float16 only. 2: "storage" was added. 3: "images" was added.
_FORMAT = 3
_FRAME_BYTES = 16  # that a TFRecord has around a record


@dataclasses.dataclass(frozen=True)
class ShardSpec:
    """What one shard holds; clips counts a recording without a clip list as one."""

    n_records: int
    n_clips: int
    n_bytes: int
    sha256: str


_SHARD = fields.record(
    {
        "n_records": fields.whole(0),
        "n_clips": fields.whole(0),
        "n_bytes": fields.whole(0, 2**62),
        "sha256": fields.matching("[0-9a-f]{64}", "64 digits of a SHA-256"),
    }
)
SHARD_NAME = r"[A-Za-z0-9_.]+-\d+-of-\d+(\.\d+)?\.tfrecord"
_SHARD_NAME = fields.matching(SHARD_NAME, "SPLIT-00000-of-00001.tfrecord")


def check_shard(value: Any, path: str) -> None:
    """Of what asdict makes of a ShardSpec; its counts must fit into its bytes."""
    _SHARD(value, path)
    n_records, n_clips = value["n_records"], value["n_clips"]
    n_bytes = value["n_bytes"]
    if n_records * _FRAME_BYTES > n_bytes or not n_records <= n_clips <= n_bytes:
        raise UserError(
            f"'{path}' has {n_records:.4g} records and {n_clips:.4g} clips in "
            f"{n_bytes} bytes"
        )


@dataclasses.dataclass(frozen=True)
class RecordsSpec:
    """What spec.json says of a folder of shards.

    log_mel_reference tells whose loudest bin is 0 dB: the whole "recording"'s (the
    authors' HowTo100M tree) or each "clip"'s (their pickles). languages are those
    spoken in the records, sorted. storage is one of STORAGES. images
    tells whether every record holds one. pooling is no part of the file: how the model
    that reads the records sees a clip, as ModelConfig.visual_pooling.
    """

    audio: AudioConfig
    log_mel_reference: str
    features_2d: FeatureSpec | None
    features_3d: FeatureSpec | None
    languages: tuple[str, ...]
    synthetic: bool
    shards: dict[str, ShardSpec]
    storage: str = "float16"
    images: bool = False
    pooling: str = "max"

    @property
    def streams(self) -> dict[str, FeatureSpec]:
        """The visual streams that are there, 2D first, by the name of their array."""
        both = {"features_2d": self.features_2d, "features_3d": self.features_3d}
        return {name: stream for name, stream in both.items() if stream}

    @property
    def visual_dims(self) -> tuple[int, ...]:
        """Widths of the visual streams that are there, 2D first."""
        return tuple(stream.dim for stream in self.streams.values())

    def to_json(self) -> dict:
        """Returns what from_json reads."""
        value = {"format": _FORMAT, **dataclasses.asdict(self)}
        del value["pooling"]
        return value | {name: one.to_json() for name, one in self.streams.items()}

    @classmethod
    def from_json(cls, value: Any, path: str) -> "RecordsSpec":
        """Reads what to_json wrote; ValueError names the file, the field, the fault."""
        try:
            _check(value)
            streams: dict[str, Any] = {
                name: FeatureSpec(**value[name]) if value[name] else None
                for name in ("features_2d", "features_3d")
            }
            return cls(
                audio=AudioConfig(**value["audio"]),
                log_mel_reference=value["log_mel_reference"],
                languages=tuple(value["languages"]),
                synthetic=value["synthetic"],
                shards={k: ShardSpec(**v) for k, v in value["shards"].items()},
                storage=value.get("storage", "float16"),
                images=value.get("images", False),
                **streams,
            )
        except UserError as error:
            raise UserError(
                f"{path}: not a spec.json of this version ({error}). Re-run "
                "data_prep.extract."
            ) from None


_SPEC = fields.record(
    {
        "format": fields.whole(1, _FORMAT),
        "storage": fields.choice(*STORAGES),
        "audio": AUDIO_CHECK,
        "log_mel_reference": fields.choice("recording", "clip"),
        "features_2d": fields.nullable(FEATURES_CHECK),
        "features_3d": fields.nullable(FEATURES_CHECK),
        "languages": fields.items(fields.text()),
        "synthetic": fields.boolean,
        "images": fields.boolean,
        "shards": fields.mapping(check_shard, name=_SHARD_NAME),
    },
    optional=("storage", "images"),
)


def _check(value: Any) -> None:
    if isinstance(value, dict) and value.get("format") not in range(1, _FORMAT + 1):
        raise UserError(f"its format is {value.get('format')!r:.40}, not {_FORMAT}")
    if isinstance(value, dict) and "storage" in value:
        if value["storage"] not in STORAGES:
            raise UserError(f"unknown storage {value['storage']!r:.40}")
    _SPEC(value, "")
    for name in ("features_2d", "features_3d"):
        pooled = value[name] and value[name]["rate_hz"] == 0
        if pooled and value["log_mel_reference"] != "clip":
            raise UserError(
                f"'{name}.rate_hz' is 0, as of features that were pooled by clip, but "
                "log_mel_reference is not 'clip'"
            )
