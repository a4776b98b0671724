"""What a spec.json says of a folder of records: constants, visual streams, shards."""

import dataclasses

from avl_tf.audio import AudioConfig
from avl_tf.errors import UserError
from avl_tf.records import stored_arrays

# 1: float16 only. 2: "storage" was added. 3: "images" was added.
_FORMAT = 3


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """One visual stream: which backbone, how wide, how many vectors a second.

    0 a second is a clip's vectors, pooled before they came here.
    """

    backbone: str
    dim: int
    rate_hz: float

    def __post_init__(self) -> None:
        if not (self.dim > 0 and self.rate_hz >= 0):
            raise UserError(f"{self.dim} features, {self.rate_hz} times a second")


# The authors' features: of ImageNet's ResNet and of Kinetics' ResNeXt.
AUTHORS_2D = FeatureSpec("resnet152", 2048, 1.0)
AUTHORS_3D = FeatureSpec("resnext101_3d", 2048, 1.5)


@dataclasses.dataclass(frozen=True)
class ShardSpec:
    """What one shard holds; clips counts a recording without a clip list as one."""

    n_records: int
    n_clips: int
    n_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class RecordsSpec:
    """What spec.json says of a folder of shards.

    log_mel_reference tells whose loudest bin is 0 dB: the whole "recording"'s (the
    authors' HowTo100M tree) or each "clip"'s (their pickles). languages are those
    spoken in the records, sorted. storage is one of stored_arrays.STORAGES. images
    tells whether every record holds one.
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
        return {"format": _FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: dict, path: str) -> "RecordsSpec":
        """Reads what to_json wrote; ValueError names the file and the fault."""
        try:
            if value["format"] not in range(1, _FORMAT + 1):
                raise UserError(f"its format is {value['format']}, not {_FORMAT}")
            storage = value.get("storage", "float16")
            if storage not in stored_arrays.STORAGES:
                raise UserError(f"unknown storage '{storage}'")
            streams = {
                key: FeatureSpec(**value[key]) if value[key] else None
                for key in ("features_2d", "features_3d")
            }
            return cls(
                audio=AudioConfig(**value["audio"]),
                log_mel_reference=value["log_mel_reference"],
                languages=tuple(value["languages"]),
                synthetic=value["synthetic"],
                shards={k: ShardSpec(**v) for k, v in value["shards"].items()},
                storage=storage,
                images=value.get("images", False),
                **streams,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}: not a spec.json of this version ({error}). Re-run "
                "data_prep.extract."
            ) from error
