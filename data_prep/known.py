"""What became of a recording before, for a shard that takes it over as it is."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from absl import logging

from avl_tf import files
from avl_tf.errors import UserError
from avl_tf.manifest import Recording
from avl_tf.manifest.findings import Finding
from avl_tf.records import record_index


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """Where a recording's record begins, or for what reason there is none.

    notes are what was told of the recording.
    """

    shard: str = ""
    offset: int = 0
    n_clips: int = 0
    reason: str = ""
    notes: tuple[Finding, ...] = ()


def take_over(
    folder: str, recordings: Sequence[Recording], known: Mapping[str, Known]
) -> Iterator[tuple[bytes, int] | OSError | None]:
    """Reads the records of known recordings, which may have moved to another split.

    Args:
        folder: of the shards.
        recordings: those of a shard to be made.
        known: some of them, by their ids.

    Yields:
        For each recording, in order, its serialised record and number of clips, or an
        error with the reason; None if it is not known, or its record is damaged.
    """
    found = [known.get(recording.id) for recording in recordings]
    stored = [one for one in found if one and not one.reason]
    paths = [files.join(folder, one.shard) for one in stored]
    reading = record_index.read_at(paths, [one.offset for one in stored])
    for recording, one in zip(recordings, found, strict=True):
        if one is None or one.reason:
            yield OSError(one.reason) if one else None
            continue
        serialized = next(reading)
        try:
            if serialized is None:
                raise UserError("its checksum is wrong")
            yield record_index.with_split(serialized, recording.split), one.n_clips
        except UserError as error:
            logging.warning(
                "%s: the record of %s at byte %d is damaged (%s): it is made anew",
                files.join(folder, one.shard),
                recording.id,
                one.offset,
                error,
            )
            yield None
