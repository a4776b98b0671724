"""Which records of a training set are read: part of the recordings, the sound ones."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf
from absl import logging

from avl_tf import files
from avl_tf.dataset.clip_cutting import ClipConfig
from avl_tf.errors import UserError
from avl_tf.records import RecordSet, Span, open_records, record_index
from avl_tf.records.record_index import Entry

_NAMED = 5  # damaged records of a shard that are named one by one


def open_training_records(path: str, clips: ClipConfig) -> RecordSet:
    """Opens a training set as clips.fraction and clips.on_corrupt say.

    Differs: the papers do not say which videos a part of HowTo100M is. Here it is by
    recording, all its records in or out; a smaller part lies within a larger one of the
    same seed; it has round(fraction * recordings) recordings, but one at least.

    Raises:
        FileNotFoundError, ValueError: as open_records; or all records are damaged, or
            one is whose recording would have to be known.
    """
    skip = clips.on_corrupt == "skip"
    records = open_records(path, any_length=skip)
    if clips.fraction == 1.0 and not skip:
        return records
    logging.info(
        "%s: %s %d records",
        path,
        "looking for damage in" if skip else "listing",
        records.n_records,
    )
    entries = list(record_index.list_records(records))
    n_skipped = 0
    if skip:
        entries = list(record_index.verify(records, entries))
        n_skipped = _tell(records, [entry for entry in entries if entry.fault])
        entries = [entry for entry in entries if not entry.fault]
        if not entries:
            raise UserError(f"{path}: all {records.n_records} records are damaged.")
    elif damaged := next((entry for entry in entries if entry.fault), None):
        raise UserError(complaint(records, damaged))
    name = path
    if clips.fraction < 1.0:
        recordings = {entry.recording_id for entry in entries}
        chosen = choose(recordings, clips.fraction, clips.fraction_seed)
        entries = [entry for entry in entries if entry.recording_id in chosen]
        name = f"{path} ({len(chosen)} of {len(recordings)} recordings)"
        logging.info("%s", name)
    return dataclasses.replace(
        records, name=name, spans=tuple(spans_of(entries)), n_skipped=n_skipped
    )


def read(batches: Iterable, name: str, sets: Sequence[RecordSet]) -> Iterator:
    """Iterates over a dataset of the records of sets, called `name`; see dataset.read.

    Raises:
        ValueError: a record is damaged, which it names, or a shard is gone.
    """
    try:
        yield from batches
    except tf.errors.NotFoundError as error:
        raise UserError(
            f"{name}: {files.reason(error)}. Was it extracted anew meanwhile, "
            "from another manifest? Then this command has to begin anew."
        ) from error
    except (
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        UnicodeDecodeError,  # TensorFlow's message quotes the record
    ) as error:
        for records in sets:
            logging.info("%s: looking for the damaged record", records.name)
            listed = record_index.verify(records, record_index.list_records(records))
            if damaged := next((entry for entry in listed if entry.fault), None):
                raise UserError(complaint(records, damaged)) from error
        raise


def choose(recording_ids: Iterable[str], fraction: float, seed: int) -> set[str]:
    """Chooses a part of recordings; that of a smaller fraction lies within it."""

    def place(recording_id: str) -> bytes:
        return hashlib.sha256(f"{seed} {recording_id}".encode()).digest()

    ordered = sorted(set(recording_ids), key=place)
    return set(ordered[: max(1, round(fraction * len(ordered)))])


def complaint(records: RecordSet, damaged: Entry) -> str:
    """One line that names a damaged record and says what to do."""
    return (
        f"{records.path(damaged.shard)}: damaged: {damaged}. Delete the file and run "
        "the same data_prep.extract again: it makes what is missing. (Training records "
        "can be trained on without what is damaged, by --on_corrupt=skip.)"
    )


def _tell(records: RecordSet, damaged: Sequence[Entry]) -> int:
    """Logs what is skipped, a line a shard; returns how many records that is."""
    for shard, group in itertools.groupby(damaged, lambda entry: entry.shard):
        found = list(group)
        named = "; ".join(str(entry) for entry in found[:_NAMED])
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        logging.warning(
            "%s: %d of %d records are damaged and skipped: %s%s",
            records.path(shard),
            sum(entry.n_records for entry in found),
            records.spec.shards[shard].n_records,
            named,
            more,
        )
    return sum(entry.n_records for entry in damaged)


def spans_of(entries: Iterable[Entry]) -> list[Span]:
    """Joins records that lie one behind the other."""
    spans: list[Span] = []
    behind: tuple[str, int] | None = None
    for entry in entries:
        last = spans[-1] if spans and behind == (entry.shard, entry.offset) else None
        if last:
            spans[-1] = dataclasses.replace(
                last,
                n_records=last.n_records + 1,
                n_clips=last.n_clips + entry.n_clips,
            )
        else:
            spans.append(Span(entry.shard, entry.offset, 1, entry.n_clips))
        behind = (entry.shard, entry.offset + entry.n_bytes)
    return spans
