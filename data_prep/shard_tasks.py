"""What a worker does: recordings of a manifest in, one finished shard out."""

import dataclasses
from collections.abc import Iterator, Mapping

from avl_tf import extraction, records
from avl_tf.manifest import Recording
from avl_tf.manifest.failures import Failure
from avl_tf.manifest.findings import Finding
from avl_tf.records import Record
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import shards
from data_prep.known import Known, take_over
from data_prep.shards import Line, ShardResult


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard to make; those known, by id, are not extracted; lines are noted."""

    folder: str
    name: str
    recordings: tuple[Recording, ...]
    config: ExtractionConfig
    known: Mapping[str, Known] = dataclasses.field(default_factory=dict)
    lines: tuple[Line, ...] = ()

    @property
    def tried(self) -> list[Recording]:
        """The recordings to be extracted."""
        return [one for one in self.recordings if one.id not in self.known]


def extract_shard(task: ShardTask) -> ShardResult:
    """Makes one shard, then the note that it is whole.

    Raises:
        ValueError, OSError: as load_backbone, or the shard cannot be written. What is
            wrong with a recording is a failure of that recording and raises nothing.
    """
    if task.tried:
        extraction.feature_specs(task.config)  # before anything is written
    return shards.write(task.folder, task.name, _outcomes(task), task.lines)


def _outcomes(task: ShardTask) -> Iterator[tuple[bytes, int] | Failure | Finding]:
    """A serialised record and its number of clips, or a failure, a recording; notes."""
    before = take_over(task.folder, task.recordings, task.known)
    for recording, taken in zip(task.recordings, before, strict=True):
        notes: list[Finding] = []
        if taken is None:
            extracted = extraction.extract(
                [recording], task.config, notes, folder=task.folder
            )
            yield _encoded(recording, next(extracted), task.config.storage)
        else:
            if isinstance(taken, OSError):
                yield extraction.failure(recording, taken)
            else:
                yield taken
            notes += task.known[recording.id].notes
        yield from (dataclasses.replace(n, media=recording.media) for n in notes)


def _encoded(
    recording: Recording, found: Record | Failure, storage: str
) -> tuple[bytes, int] | Failure:
    if not isinstance(found, Record):
        return found
    try:
        return records.encode(found, storage), found.n_clips
    except ValueError as error:
        return extraction.failure(recording, error)
