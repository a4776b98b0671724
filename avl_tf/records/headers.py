"""What records say of themselves, without their arrays."""

import dataclasses
import itertools
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from avl_tf import json_text
from avl_tf.errors import UserError
from avl_tf.records import RecordSet, framing, record_index
from avl_tf.records.schema import Clip


@dataclasses.dataclass(frozen=True)
class Header:
    """The fields of a Record that are no arrays; place is (shard, byte in it)."""

    place: tuple[str, int]
    id: str
    recording_id: str
    language: str
    split: str
    start_s: float
    end_s: float
    clips: tuple[Clip, ...]
    labels: dict


def read(records: RecordSet) -> Iterator[Header]:
    """Reads the headers of the records of a set, in their order.

    Raises:
        UserError: a record is damaged; names it.
    """
    listed = record_index.list_read(records)
    for shard, entries in itertools.groupby(listed, lambda entry: entry.shard):
        path = records.path(shard)
        with framing.open_shard(path) as stream:
            for entry in entries:
                if entry.fault:
                    raise UserError(f"{path}: {entry}.")
                stream.seek(entry.offset + framing.BEFORE)
                n_bytes = entry.n_bytes - framing.FRAME_BYTES
                try:
                    found = framing.read_header(stream, n_bytes)
                    yield _header((shard, entry.offset), found)
                except (DecodeError, IndexError, UnicodeDecodeError):
                    raise UserError(f"{path}: {entry} it is not a record.") from None


def _header(place: tuple[str, int], found) -> Header:
    def text(name: str) -> str:
        return found[name].bytes_list.value[0].decode()

    def numbers(name: str) -> list[float]:
        return list(found[name].float_list.value)

    clips = zip(
        numbers("clip_starts_s"),
        numbers("clip_ends_s"),
        (label.decode() for label in found["clip_labels"].bytes_list.value),
        strict=False,
    )
    (start_s,), (end_s,) = numbers("start_s"), numbers("end_s")
    labels = json_text.load(text("labels"), f"record {text('id')}: labels")
    return Header(
        place=place,
        id=text("id"),
        recording_id=text("recording_id"),
        language=text("language"),
        split=text("split"),
        start_s=start_s,
        end_s=end_s,
        clips=tuple(Clip(*clip) for clip in clips),
        labels=labels if isinstance(labels, dict) else {},
    )
