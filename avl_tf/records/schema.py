"""What a record is, and its bytes in both directions.

A record is one recording (a source video, a clip that was published by itself, or an
image with its spoken caption): its log-mel spectrogram, and its frozen visual features,
the image itself or both. It lies in a shard as a tf.train.Example.
"""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from avl_tf import json_text
from avl_tf.errors import UserError
from avl_tf.records import framing, stored_arrays
from avl_tf.records.spec import RecordsSpec
from avl_tf.records.stored_arrays import StoredArray

_LARGEST = 2**31 - 1  # bytes of a protocol buffer
_TEXTS = ("id", "recording_id", "language", "split")


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
    L2-normalised per time step, or None. image is an upright JPEG, or None. labels is
    free JSON.
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
    image: bytes | None = None
    clips: tuple[Clip, ...] = ()
    labels: dict = dataclasses.field(default_factory=dict)

    @property
    def n_clips(self) -> int:
        """Its clips, of which a recording without a list is one."""
        return max(1, len(self.clips))


def encode(record: Record, storage: str = "float16") -> bytes:
    """Serialises a record as a tf.train.Example.

    Args:
        record: its arrays are rounded to float16 ("int8": to 256 levels).
        storage: "float16", or "int8" for half the bytes. Their spec.json must say it.

    Raises:
        ValueError: an array is not [time, width], is empty or holds a NaN or an
            infinity, a log-mel for int8 is above 0 dB, the image is no JPEG, a text or
            a time is one that no record can hold, or it is larger than 2 GB; names the
            record.
    """
    _check_header(record)
    header: dict[str, tf.train.Feature] = {}
    arrays: dict[str, framing.Buffer] = {}
    for name in _TEXTS:
        header[name] = _bytes_feature(getattr(record, name).encode())
    header["labels"] = _bytes_feature(json.dumps(record.labels).encode())
    header["start_s"] = _float_feature([record.start_s])
    header["end_s"] = _float_feature([record.end_s])
    header["clip_starts_s"] = _float_feature([c.start_s for c in record.clips])
    header["clip_ends_s"] = _float_feature([c.end_s for c in record.clips])
    header["clip_labels"] = _bytes_feature(*[c.label.encode() for c in record.clips])
    for name in ("log_mel", "features_2d", "features_3d"):
        array = getattr(record, name)
        if array is None:
            continue
        _check_array(f"record {record.id}: {name}", array)
        pack = stored_arrays.pack_log_mel if name == "log_mel" else stored_arrays.pack
        try:
            arrays[name], levels = pack(np.asarray(array), storage)
        except ValueError as error:
            raise UserError(f"record {record.id}: {name} {error}") from error
        if levels:
            header[_levels_name(name)] = _float_feature(levels)
    if record.image is not None:
        if not tf.io.is_jpeg(record.image):
            raise UserError(f"record {record.id}: image is not a JPEG")
        arrays["image"] = record.image
    # Serialised messages one behind the other are one message. What is small comes
    # first: record_index finds it without reading the arrays.
    first = tf.train.Example(features=tf.train.Features(feature=header))
    header_bytes = first.SerializeToString(deterministic=True)
    whole = [header_bytes, *framing.arrays_message(arrays)]
    if sum(map(len, whole)) > _LARGEST:
        raise UserError(
            f"record {record.id}: larger than 2 GB, which nothing reads. Cut it in two."
        )
    return b"".join(whole)


def _check_header(record: Record) -> None:
    held = {name: getattr(record, name) for name in (*_TEXTS, "start_s", "end_s")}
    held["clips"] = [dataclasses.asdict(clip) for clip in record.clips]
    if fault := json_text.fault_of(held):
        raise UserError(f"record {json_text.mended(record.id)}: {fault}.")


def _check_array(name: str, array: np.ndarray) -> None:
    stored = np.asarray(array, np.float16)
    if stored.ndim != 2 or not stored.size:
        raise UserError(
            f"{name} has shape {stored.shape}, expected [time, width] with at least "
            "one time step."
        )
    if not np.isfinite(stored).all():
        raise UserError(f"{name} holds a NaN or an infinity.")


def _levels_name(array_name: str) -> str:
    return f"{array_name}_levels"


def _bytes_feature(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _float_feature(values: Sequence[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def parse(serialized: tf.Tensor, spec: RecordsSpec) -> dict[str, tf.Tensor]:
    """Parses one serialised record inside tf.data.

    Returns:
        The scalars and clip lists by name, a StoredArray `log_mel`, a tuple `features`
        of one StoredArray a stream of the spec, 2D first, and a JPEG `image` if the
        spec says so.

    Raises:
        tf.errors.InvalidArgumentError: it is no record of such a set, or an array is of
            another size or holds a NaN or an infinity, a clip is no span of seconds, or
            the image is no JPEG.
    """
    scalar_string = tf.io.FixedLenFeature([], tf.string)
    floats = tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
    strings = tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)
    widths = {"log_mel": spec.audio.n_mels}
    widths |= {name: stream.dim for name, stream in spec.streams.items()}
    schema = {
        "id": scalar_string,
        "recording_id": scalar_string,
        "language": scalar_string,
        "split": scalar_string,
        "labels": scalar_string,
        "start_s": tf.io.FixedLenFeature([], tf.float32),
        "end_s": tf.io.FixedLenFeature([], tf.float32),
        "clip_starts_s": floats,
        "clip_ends_s": floats,
        "clip_labels": strings,
        **dict.fromkeys(widths, scalar_string),
    }
    if spec.storage == "int8":
        levels = tf.io.FixedLenFeature([2], tf.float32)
        schema |= {_levels_name(name): levels for name in widths}
    if spec.images:
        schema["image"] = scalar_string
    parsed = tf.io.parse_single_example(serialized, schema)
    arrays = {}
    for name, width in widths.items():
        levels = parsed.pop(_levels_name(name), None)
        array = StoredArray(parsed.pop(name), levels, width)
        _require(array.is_whole, f"{name} is not an array of {width} columns")
        _require(array.is_finite, f"{name} holds a NaN or an infinity")
        arrays[name] = array
    _require(_has_spans(parsed), "its clips are not spans of seconds with labels")
    parsed["log_mel"] = arrays.pop("log_mel")
    parsed["features"] = tuple(arrays.values())
    if spec.images:
        _require(tf.io.is_jpeg(parsed["image"]), "image is not a JPEG")
    return parsed


def _has_spans(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
    """Whether 0 <= start <= end < infinity, of the record and of each clip."""
    starts, ends, labels = (
        parsed[f"clip_{name}"] for name in ("starts_s", "ends_s", "labels")
    )
    n_clips = tf.size(starts)
    whole = tf.logical_and(tf.size(ends) == n_clips, tf.size(labels) == n_clips)
    # Cut, for a comparison of two lengths would be an error of its own.
    starts = tf.concat([starts[: tf.size(ends)], parsed["start_s"][tf.newaxis]], 0)
    ends = tf.concat([ends[:n_clips], parsed["end_s"][tf.newaxis]], 0)
    good = (starts >= 0) & (starts <= ends) & (ends < np.inf)
    return tf.reduce_all(good) & whole


def _require(condition: tf.Tensor, complaint: str) -> None:
    tf.debugging.Assert(condition, [complaint])


def decode(serialized: bytes, spec: RecordsSpec) -> Record:
    """Reads one serialised record outside tf.data.

    Its arrays are float16: what encode was given, or with spec.storage "int8" the
    levels next to it.

    Raises:
        tf.errors.InvalidArgumentError: as parse.
        UserError: a text is not UTF-8, or the labels are not JSON.
    """
    parsed = parse(tf.constant(serialized), spec)
    try:
        texts = {name: parsed[name].numpy().decode() for name in (*_TEXTS, "labels")}
        clip_labels = [label.decode() for label in parsed["clip_labels"].numpy()]
    except UnicodeDecodeError as error:
        raise UserError(f"a record holds a text that is not UTF-8 ({error}).") from None
    clips = zip(
        parsed["clip_starts_s"].numpy().tolist(),
        parsed["clip_ends_s"].numpy().tolist(),
        clip_labels,
        strict=True,
    )
    features = zip(spec.streams, parsed["features"], strict=True)
    return Record(
        **{name: texts[name] for name in _TEXTS},
        start_s=float(parsed["start_s"]),
        end_s=float(parsed["end_s"]),
        log_mel=parsed["log_mel"].all().numpy(),
        image=parsed["image"].numpy() if spec.images else None,
        clips=tuple(Clip(*clip) for clip in clips),
        labels=json_text.load(texts["labels"], f"record {texts['id']}: labels"),
        **{name: array.all().numpy() for name, array in features},
    )
