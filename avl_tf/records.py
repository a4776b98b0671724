"""The record schema in both directions, and the folder of shards with its spec.json.

A record is one recording (a source video, a clip that was published by itself, or an
image with its spoken caption): its log-mel spectrogram and its frozen visual features.
Arrays are raw float16 bytes in uncompressed TFRecords, which read two to three times as
fast as compressed ones.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from avl_tf import files
from avl_tf.audio import AudioConfig

FORMAT = 1
SPEC_NAME = "spec.json"
_SUFFIX = ".tfrecord"


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """One visual stream: which backbone, how wide, how many vectors a second."""

    backbone: str
    dim: int
    rate_hz: float


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
    spoken in the records, sorted.
    """

    audio: AudioConfig
    log_mel_reference: str
    features_2d: FeatureSpec | None
    features_3d: FeatureSpec | None
    languages: tuple[str, ...]
    synthetic: bool
    shards: dict[str, ShardSpec]

    @property
    def visual_dims(self) -> tuple[int, ...]:
        """Widths of the visual streams that are there, 2D first."""
        streams = (self.features_2d, self.features_3d)
        return tuple(stream.dim for stream in streams if stream)

    def to_json(self) -> dict:
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: dict, path: str) -> "RecordsSpec":
        """Reads what to_json wrote; ValueError names the file and the fault."""
        try:
            if value["format"] != FORMAT:
                raise ValueError(f"its format is {value['format']}, not {FORMAT}")
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
                **streams,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}: not a spec.json of this version ({error}). Re-run "
                "data_prep.extract."
            ) from error


@dataclasses.dataclass(frozen=True)
class Clip:
    """A timed span of a recording, in seconds from the record's start."""

    start_s: float
    end_s: float
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    """One recording.

    log_mel is [T, F] in dB; features_2d [K2, D2] and features_3d [K3, D3] are
    L2-normalised per time step, or None. labels is free JSON.
    """

    id: str
    recording_id: str
    language: str
    split: str
    start_s: float
    end_s: float
    log_mel: np.ndarray
    features_2d: np.ndarray | None = None
    features_3d: np.ndarray | None = None
    clips: tuple[Clip, ...] = ()
    labels: dict = dataclasses.field(default_factory=dict)


def encode(record: Record) -> bytes:
    """Serialises a record as a tf.train.Example.

    Raises:
        ValueError: an array is not [time, width], is empty or holds a NaN or an
            infinity; names the record.
    """
    arrays = {
        "log_mel": record.log_mel,
        "features_2d": record.features_2d,
        "features_3d": record.features_3d,
    }
    features = {}
    for name, array in arrays.items():
        if array is None:
            continue
        stored = np.asarray(array, np.float16)
        if stored.ndim != 2 or not stored.size:
            raise ValueError(
                f"record {record.id}: {name} has shape {stored.shape}, expected "
                "[time, width] with at least one time step."
            )
        if not np.isfinite(stored).all():
            raise ValueError(f"record {record.id}: {name} holds a NaN or an infinity.")
        features[name] = _bytes_feature(stored.tobytes())
    for name in ("id", "recording_id", "language", "split"):
        features[name] = _bytes_feature(getattr(record, name).encode())
    features["labels"] = _bytes_feature(json.dumps(record.labels).encode())
    features["start_s"] = _float_feature([record.start_s])
    features["end_s"] = _float_feature([record.end_s])
    features["clip_starts_s"] = _float_feature([c.start_s for c in record.clips])
    features["clip_ends_s"] = _float_feature([c.end_s for c in record.clips])
    features["clip_labels"] = _bytes_feature(*[c.label.encode() for c in record.clips])
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString()


def _bytes_feature(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _float_feature(values: Sequence[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def parse(serialized: tf.Tensor, spec: RecordsSpec) -> dict[str, tf.Tensor]:
    """Parses one serialised record inside tf.data.

    Returns:
        The scalars and clip lists by name, log_mel float16 [T, F], and a tuple
        `features` of float16 [K, D], one a stream of the spec, 2D first.
    """
    scalar_string = tf.io.FixedLenFeature([], tf.string)
    floats = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
    strings = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
    streams = {
        name: stream
        for name, stream in (
            ("features_2d", spec.features_2d),
            ("features_3d", spec.features_3d),
        )
        if stream
    }
    schema = {
        "id": scalar_string,
        "recording_id": scalar_string,
        "language": scalar_string,
        "split": scalar_string,
        "labels": scalar_string,
        "log_mel": scalar_string,
        "start_s": tf.io.FixedLenFeature([], tf.float32),
        "end_s": tf.io.FixedLenFeature([], tf.float32),
        "clip_starts_s": floats,
        "clip_ends_s": floats,
        "clip_labels": strings,
        **dict.fromkeys(streams, scalar_string),
    }
    parsed = tf.io.parse_single_example(serialized, schema)

    def array(name, width):
        return tf.reshape(tf.io.decode_raw(parsed.pop(name), tf.float16), [-1, width])

    parsed["log_mel"] = array("log_mel", spec.audio.n_mels)
    parsed["features"] = tuple(array(k, stream.dim) for k, stream in streams.items())
    return parsed


def decode(serialized: bytes, spec: RecordsSpec) -> Record:
    """Reads one serialised record outside tf.data; what encode wrote comes back."""
    parsed = parse(tf.constant(serialized), spec)
    names = [k for k in ("features_2d", "features_3d") if getattr(spec, k)]
    clips = zip(
        parsed["clip_starts_s"].numpy().tolist(),
        parsed["clip_ends_s"].numpy().tolist(),
        [label.decode() for label in parsed["clip_labels"].numpy()],
        strict=True,
    )
    return Record(
        **{
            k: parsed[k].numpy().decode()
            for k in ("id", "recording_id", "language", "split")
        },
        start_s=float(parsed["start_s"]),
        end_s=float(parsed["end_s"]),
        log_mel=parsed["log_mel"].numpy(),
        clips=tuple(Clip(*clip) for clip in clips),
        labels=json.loads(parsed["labels"].numpy()),
        **{k: f.numpy() for k, f in zip(names, parsed["features"], strict=True)},
    )


def shard_name(split: str, index: int, n_shards: int) -> str:
    """Names a shard: train-00003-of-00016.tfrecord."""
    return f"{split}-{index:05d}-of-{n_shards:05d}{_SUFFIX}"


def write_shard(path: str, records: Sequence[bytes], n_clips: int) -> ShardSpec:
    """Writes serialised records under a temporary name, then renames the file."""
    temporary = f"{path}.tmp-{os.getpid()}"
    with tf.io.TFRecordWriter(temporary) as writer:
        for record in records:
            writer.write(record)
    # Piece by piece: a shard may be large, and a file object holds what it reads twice.
    digest, n_bytes = hashlib.sha256(), 0
    with tf.io.gfile.GFile(temporary, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
            n_bytes += len(piece)
    tf.io.gfile.rename(temporary, path, overwrite=True)
    return ShardSpec(len(records), n_clips, n_bytes, digest.hexdigest())


@dataclasses.dataclass(frozen=True)
class RecordSet:
    """The shards that one name on the command line stands for."""

    name: str
    spec: RecordsSpec
    folder: str
    shards: tuple[str, ...]  # file names in the folder

    @property
    def paths(self) -> list[str]:
        return [files.join(self.folder, name) for name in self.shards]

    @property
    def n_records(self) -> int:
        return sum(self.spec.shards[name].n_records for name in self.shards)

    @property
    def n_clips(self) -> int:
        return sum(self.spec.shards[name].n_clips for name in self.shards)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the content of a shard does."""
        sums = [self.spec.shards[name].sha256 for name in self.shards]
        return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]

    def damaged_shards(self) -> list[str]:
        """Re-reads every shard and names those whose checksum is not spec.json's."""
        damaged = []
        for name, path in zip(self.shards, self.paths, strict=True):
            with tf.io.gfile.GFile(path, "rb") as stream:
                checksum = hashlib.sha256(stream.read()).hexdigest()
            if checksum != self.spec.shards[name].sha256:
                damaged.append(path)
        return damaged


def open_records(path: str) -> RecordSet:
    """Finds the shards of a folder (DIR) or of one of its splits (DIR/train).

    Raises:
        FileNotFoundError: no spec.json or no such split, with what was looked for.
        ValueError: a shard is missing or is not as long as spec.json says (it was cut
            or is being written), or there is no recording at all.
    """
    files.require_filesystem(path)
    path = path.rstrip("/")
    if tf.io.gfile.isdir(path):
        folder, split = path, ""
    else:
        folder, _, split = path.rpartition("/")
        folder = folder or "."
    spec_path = files.join(folder, SPEC_NAME)
    if not tf.io.gfile.exists(spec_path):
        raise FileNotFoundError(
            f"{path}: no records here (looked for {spec_path}). Give a folder that "
            "data_prep.extract wrote, or FOLDER/SPLIT for one split of it."
        )
    spec = RecordsSpec.from_json(files.read_json(spec_path), spec_path)
    splits = sorted({name.rsplit("-", 3)[0] for name in spec.shards})
    names = sorted(n for n in spec.shards if n.rsplit("-", 3)[0] == split or not split)
    if split and not names:
        raise FileNotFoundError(
            f"{path}: {spec_path} lists no split '{split}', only {', '.join(splits)}."
        )
    found = RecordSet(path, spec, folder, tuple(names))
    for name, shard in zip(names, found.paths, strict=True):
        n_bytes = tf.io.gfile.stat(shard).length if tf.io.gfile.exists(shard) else None
        if n_bytes != spec.shards[name].n_bytes:
            raise ValueError(
                f"{shard}: "
                + ("missing" if n_bytes is None else f"{n_bytes} bytes long")
                + f", {SPEC_NAME} says {spec.shards[name].n_bytes} bytes. Delete it "
                "and run the same data_prep.extract again: it makes what is missing."
            )
    if not found.n_records:
        raise ValueError(
            f"{path}: 0 recordings. See failures.jsonl in {folder} for what went wrong "
            "in extraction."
        )
    return found
