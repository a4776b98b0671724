"""Where the records of a shard lie, what they are called, and which are damaged.

A TFRecord is its length (8 bytes) and a checksum (4), the record, and its checksum (4).
Going from length to length lists a shard by a few kilobytes a record; arrays are read
only to look for damage.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import re
import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from avl_tf import images, json_text
from avl_tf.errors import UserError
from avl_tf.records import RecordSet
from avl_tf.records.framing import (
    BEFORE,
    FRAME_BYTES,
    checksum,
    first_field,
    open_shard,
    read_header,
)
from avl_tf.records.schema import parse
from avl_tf.records.spec import RecordsSpec

_REMOTE_BUFFER = 1 << 17
_LISTED_AT_ONCE = 16  # shards; what takes time is the way to a remote one


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One record of a shard, or the rest of the shard behind a damaged frame.

    fault says what is wrong, "" is nothing known. n_bytes counts the frame too.
    id, recording_id and n_clips are unknown where a fault hides them. lengths_s:
    of the clips or the record, if they were asked for. label: so is it; "" is none.
    """

    shard: str
    index: int
    offset: int
    n_bytes: int
    id: str = ""
    recording_id: str = ""
    n_clips: int = 0
    n_records: int = 1
    fault: str = ""
    lengths_s: tuple[float, ...] = ()
    label: str = ""

    def __str__(self) -> str:
        name = f"{self.id:.80}, " if self.id else ""
        return f"record {self.index} ({name}at byte {self.offset}): {self.fault}"


def list_records(
    records: RecordSet, with_lengths: str = "", label: str = ""
) -> Iterator[Entry]:
    """Lists the records of all shards in order, without reading their arrays.

    With the lengths of "clips" or "records", and the field of the labels of this name.
    """
    list_shard = functools.partial(_list_shard, records, with_lengths, label)
    with concurrent.futures.ThreadPoolExecutor(_LISTED_AT_ONCE) as pool:
        for entries in pool.map(list_shard, records.shards):
            yield from entries


def list_read(
    records: RecordSet, with_lengths: str = "", label: str = ""
) -> Iterator[Entry]:
    """Lists, as list_records, the records that lie in the set's spans."""
    begins = {(span.shard, span.offset): span.n_records for span in records.spans}
    left = 0
    for entry in list_records(records, with_lengths, label):
        left = begins.get((entry.shard, entry.offset), left)
        if left > 0:
            yield entry
        left -= entry.n_records


def lengths(records: RecordSet, of_clips: bool = True) -> np.ndarray:
    """Reads off the seconds of every clip, or record, of those that are read.

    Returns:
        float64 [N], in their order; those of damaged records are left out.
    """
    listed = list_read(records, "clips" if of_clips else "records")
    return np.array([length for entry in listed for length in entry.lengths_s])


def verify(records: RecordSet, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Reads every record and says in the entries what is wrong with it."""
    entries = list(entries)
    readable = [entry for entry in entries if not entry.fault]
    results = _read_all(
        [records.path(entry.shard) for entry in readable],
        [entry.offset for entry in readable],
        records.spec,
    )
    for entry in entries:
        fault = entry.fault or next(results)
        yield dataclasses.replace(entry, fault=fault)


def records_at(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
    """The serialised records of a file from a byte on; inside another dataset only.

    By itself it cannot be iterated: TensorFlow 2.16 loses the offset.
    """
    # From the page cache a record is best read in one go, past any buffer.
    remote = tf.strings.regex_full_match(path, r"\w+://.*")
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path],
        compression_type="",
        buffer_size=tf.where(remote, tf.constant(_REMOTE_BUFFER, tf.int64), 0),
        byte_offsets=[offset],
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


def offsets(sizes: Iterable[int]) -> list[int]:
    """The bytes at which records of these sizes begin in a shard; last, its end."""
    return [0, *itertools.accumulate(size + FRAME_BYTES for size in sizes)]


def read_at(paths: Sequence[str], offsets: Sequence[int]) -> Iterator[bytes | None]:
    """Reads the serialised records at places, in order; None for a damaged one."""
    reading = serialized_at(paths, offsets).as_numpy_iterator()
    for _ in paths:
        try:
            yield next(reading)
        except tf.errors.DataLossError:
            yield None


def with_split(serialized: bytes, split: str) -> bytes:
    """A serialised record as encode makes it if the split is another.

    Raises:
        ValueError: it is not a record.
    """
    try:
        first, behind = first_field(serialized)
        header = tf.train.Features.FromString(serialized[first:behind])
        (before,) = header.feature["split"].bytes_list.value
    except (DecodeError, IndexError, ValueError) as error:
        raise UserError("it is not a record") from error
    if before == split.encode():
        return serialized
    header.feature["split"].bytes_list.value[0] = split.encode()
    example = tf.train.Example(features=header)
    return example.SerializeToString(deterministic=True) + serialized[behind:]


def _list_shard(
    records: RecordSet, with_lengths: str, label: str, shard: str
) -> list[Entry]:
    path, expected = records.path(shard), records.spec.shards[shard].n_records
    size = tf.io.gfile.stat(path).length
    entries: list[Entry] = []
    offset = 0

    def rest(fault: str) -> Entry:
        index = len(entries)
        lost = max(1, expected - index)
        return Entry(shard, index, offset, size - offset, n_records=lost, fault=fault)

    with open_shard(path) as stream:
        while offset < size:
            stream.seek(offset)
            frame = stream.read(BEFORE)
            if len(frame) < BEFORE or checksum(frame[:8]) != frame[8:]:
                fault = "its length is damaged, which hides the rest of the file"
                return [*entries, rest(fault)]
            n_bytes = struct.unpack("<Q", frame[:8])[0]
            if offset + n_bytes + FRAME_BYTES > size:
                return [*entries, rest("the file ends within it")]
            entry = Entry(shard, len(entries), offset, n_bytes + FRAME_BYTES)
            entries.append(_with_header(entry, stream, n_bytes, with_lengths, label))
            offset += n_bytes + FRAME_BYTES
    if len(entries) < expected:
        entries.append(rest(f"the file ends before it, {expected} were written"))
    return entries


def _with_header(
    entry: Entry, stream, n_bytes: int, with_lengths: str, label: str
) -> Entry:
    """Adds what stands before the arrays; all of an older record, which mixes them."""
    try:
        found = read_header(stream, n_bytes)
        return dataclasses.replace(
            entry,
            id=found["id"].bytes_list.value[0].decode(),
            recording_id=found["recording_id"].bytes_list.value[0].decode(),
            n_clips=max(1, len(found["clip_starts_s"].float_list.value)),
            lengths_s=_lengths(found, with_lengths),
            label=_label(found, label) if label else "",
        )
    except (DecodeError, IndexError, UnicodeDecodeError):
        return dataclasses.replace(entry, fault="it is not a record")
    except UserError as error:
        return dataclasses.replace(entry, fault=f"its labels cannot be read: {error}")


def _label(found, name: str) -> str:
    """A field of the labels of a record's header, as text; "" for none."""
    labels = json_text.load(found["labels"].bytes_list.value[0], "labels")
    value = labels.get(name) if isinstance(labels, dict) else None
    if value is None or isinstance(value, str):
        return value or ""
    return json_text.dump(value)


def _lengths(found, of: str) -> tuple[float, ...]:
    """Seconds of the clips of a record's header; of none, those of the record."""
    names = {"": (), "records": ("{}_s",), "clips": ("clip_{}s_s", "{}_s")}
    for name in names[of]:
        starts, ends = (
            found[name.format(edge)].float_list.value for edge in ("start", "end")
        )
        if starts:
            return tuple(end - start for start, end in zip(starts, ends, strict=False))
    return ()


def serialized_at(paths: Sequence[str], offsets: Sequence[int]) -> tf.data.Dataset:
    """The serialised records at places, in order; DataLossError for a damaged one."""
    where = tf.data.Dataset.from_tensor_slices(
        (tf.constant(paths, tf.string), tf.constant(offsets, tf.int64))
    )

    @tf.autograph.experimental.do_not_convert
    def one(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
        return records_at(path, offset).take(1)

    return where.flat_map(one)


def _read_all(paths: list[str], offsets: list[int], spec: RecordsSpec) -> Iterator[str]:
    """Reads and parses the records at places; yields what is wrong, "" if nothing."""

    @tf.autograph.experimental.do_not_convert
    def try_record(record: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parsed = parse(record, spec)
        if not spec.images:
            return (parsed["id"],)
        # A pixel that nobody asked for would not be decoded.
        return parsed["id"], images.decode_jpeg(parsed["image"])[0, 0]

    serialized = serialized_at(paths, offsets)
    reading = iter(serialized.map(try_record, tf.data.AUTOTUNE))
    for _ in paths:
        try:
            next(reading)
            yield ""
        except UnicodeDecodeError:  # TensorFlow's message quotes the record
            yield "it is not a record"
        except tf.errors.DataLossError:
            yield "its checksum is wrong"
        except tf.errors.InvalidArgumentError as error:
            stated = re.search(r"assertion failed: \[(.*?)\]", error.message)
            if stated:
                yield stated[1]
            elif "jpeg" in error.message.lower():
                yield "its image cannot be decoded"
            else:
                yield "it is not a record of this set"
