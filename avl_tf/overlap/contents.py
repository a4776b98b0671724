"""What recordings a set of records holds: their ids, and hashes of their sound."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf.dataset import Records, plain_sets
from avl_tf.near_duplicates import Fingerprint
from avl_tf.overlap import log_mels
from avl_tf.records import RecordSet, record_index
from avl_tf.records.record_index import Entry
from avl_tf.records.schema import parse

# Larger sets, of which HowTo100M is one, are known by their ids alone: to listen to
# 400 hours, which are about as much with the features, takes three minutes of a core.
_MOST_BYTES = 64 << 30
_TOLD_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Contents:
    """The records of a set, N of them, in order.

    Attributes:
        ids, recording_ids: of the records.
        sizes: int32 [N], how many hashes each record has.
        hashes: uint32 [H], those of the records one behind the other.
        times_s: float32 [H], from the record's start.
    """

    ids: tuple[str, ...]
    recording_ids: tuple[str, ...]
    sizes: np.ndarray
    hashes: np.ndarray
    times_s: np.ndarray

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """int64 [N], where each record's hashes end."""
        return np.cumsum(self.sizes, dtype=np.int64)

    def fingerprint(self, index: int) -> Fingerprint:
        """The hashes of one record."""
        end = int(self.ends[index])
        span = slice(end - int(self.sizes[index]), end)
        return Fingerprint(self.hashes[span].astype(np.uint64), self.times_s[span])


def look(records: Records) -> Contents:
    """Looks through the records of a set that are read; damaged ones are passed over.

    Args:
        records: of any size. If it is above 64 GB, no record has hashes. Of a joined
            set, those of each language.
    """
    parts = [_look(one) for one in plain_sets(records)]
    return Contents(
        tuple(one for part in parts for one in part.ids),
        tuple(one for part in parts for one in part.recording_ids),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.hashes for part in parts]),
        np.concatenate([part.times_s for part in parts]),
    )


def _look(records: RecordSet) -> Contents:
    entries = [one for one in record_index.list_read(records) if not one.fault]
    n_bytes = sum(entry.n_bytes for entry in entries)
    found = [log_mels.NONE] * len(entries)
    if n_bytes <= _MOST_BYTES:
        if n_bytes > _TOLD_BYTES:
            logging.info(
                "%s: hashing the sound of %d records (%.0f GB), to tell copies by",
                records.name,
                len(entries),
                n_bytes / 1e9,
            )
        audio = records.spec.audio
        found = [
            log_mels.NONE if one is None else log_mels.fingerprint(one, audio)
            for one in _log_mels(records, entries)
        ]
    hashes, times_s = (
        np.concatenate(list(part)) for part in zip(log_mels.NONE, *found, strict=True)
    )
    return Contents(
        tuple(entry.id for entry in entries),
        tuple(entry.recording_id for entry in entries),
        np.array([len(one.hashes) for one in found], np.int32),
        hashes.astype(np.uint32),
        times_s,
    )


def _log_mels(
    records: RecordSet, entries: Sequence[Entry]
) -> Iterator[np.ndarray | None]:
    """The log-mel of each record, float16 [T, F]; None of one that is damaged."""
    spec = dataclasses.replace(
        records.spec, features_2d=None, features_3d=None, images=False
    )
    paths = [records.path(entry.shard) for entry in entries]
    offsets = [entry.offset for entry in entries]

    @tf.autograph.experimental.do_not_convert
    def heard(serialized: tf.Tensor) -> tf.Tensor:
        return parse(serialized, spec)["log_mel"].all()

    serialized = record_index.serialized_at(paths, offsets)
    reading = iter(serialized.map(heard, tf.data.AUTOTUNE))
    for _ in entries:
        try:
            log_mel = next(reading, None)
            yield None if log_mel is None else log_mel.numpy()
        except (
            tf.errors.DataLossError,
            tf.errors.InvalidArgumentError,
            UnicodeDecodeError,  # TensorFlow's message quotes the record
        ):
            yield None
