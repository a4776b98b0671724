"""Shards of a version that did not note for which lines of a manifest it made them.

FOLDER/progress/job.json has a digest of all of them: whether they are among those of
the manifest that is given now can be told, and then they are noted.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from avl_tf.manifest import Recording
from avl_tf.records import RecordSet, RecordsSpec, framing, record_index
from avl_tf.records.record_index import Entry
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import shards
from data_prep.growth import line_of
from data_prep.shard_tasks import ShardTask
from data_prep.shards import ShardResult


def note_lines(
    folder: str,
    whole: Iterable[ShardResult],
    recordings: Sequence[Recording],
    plan: Callable[[Sequence[Recording]], list[ShardTask]],
    is_begun_for: Callable[[Sequence[ShardTask]], bool],
) -> bool:
    """Notes for which lines shards were made, where it is not noted.

    Args:
        folder: of the shards, local or remote.
        whole: its shards that are whole.
        recordings: of a manifest, all of which, or of which all that are in the shards
            may be the lines they were made for.
        plan: deals recordings to shards.
        is_begun_for: whether the folder was begun for shards.

    Returns:
        Whether it has noted any; not if the lines were others.
    """
    whole = list(whole)
    unnoted = {result.name: result for result in whole if not result.lines}
    found = _list(folder, unnoted)
    ids = {entry.id for entries in found.values() for entry in entries}
    ids |= {failed["id"] for result in whole for failed in result.failures}
    ids |= {line.id for result in whole for line in result.lines}
    among = [recording for recording in recordings if recording.id in ids]
    begun = (tasks for tasks in map(plan, (recordings, among)) if is_begun_for(tasks))
    noted = False
    for task in next(begun, ()):
        if task.name in unnoted:
            entries = {entry.id: entry for entry in found[task.name]}
            lines = []
            for recording in task.recordings:
                line = line_of(recording)
                if entry := entries.get(recording.id):
                    n_bytes = entry.n_bytes - framing.FRAME_BYTES
                    line = dataclasses.replace(
                        line, n_bytes=n_bytes, n_clips=entry.n_clips
                    )
                lines.append(line)
            result = dataclasses.replace(unnoted[task.name], lines=tuple(lines))
            noted |= shards.note(folder, result)
    return noted


def _list(folder: str, results: Mapping[str, ShardResult]) -> dict[str, list[Entry]]:
    """The records of shards that have no fault, by shard."""
    specs = {name: result.spec for name, result in results.items()}
    audio = ExtractionConfig().audio  # of which, as of the rest, nothing is read
    spec = RecordsSpec(audio, "recording", None, None, (), False, specs)
    found: dict[str, list[Entry]] = {name: [] for name in specs}
    for entry in record_index.list_records(
        RecordSet(folder, spec, folder, tuple(specs), ())
    ):
        if not entry.fault:
            found[entry.shard].append(entry)
    return found
