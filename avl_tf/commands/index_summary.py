"""What became of an index: counts for a line, and the list of what failed."""

import dataclasses
import os

from avl_tf import whole_files
from avl_tf.manifest import failures
from avl_tf.manifest.failures import Failure
from avl_tf.retrieval import origins
from avl_tf.retrieval.changes import Changes
from avl_tf.retrieval.writing import Writer
from avl_tf.wording import counted


@dataclasses.dataclass(frozen=True)
class Updated:
    """What became of an index.

    changes: what was done. failed: all that has no windows, and lines of manifests that
    are no recordings. n_recordings, hours, n_windows, n_bytes: what it holds.
    """

    changes: Changes
    failed: list[Failure]
    n_recordings: int
    n_windows: int
    hours: float
    n_bytes: int

    @property
    def did_something(self) -> bool:
        """Whether anything was made, renamed or taken out."""
        done = self.changes
        return bool(done.make or done.gone or done.n_renamed)

    def __str__(self) -> str:
        done = self.changes
        counts = {
            "made": done.n_made,
            "kept": done.n_same,
            "renamed": done.n_renamed,
            "gone": len(done.gone),
            "left out by --remove": done.n_removed,
            "failed": len(self.failed),
        }
        told = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
        return (
            f"{counted(self.n_recordings, 'recording')}, "
            f"{counted(self.n_windows, 'window')}, {self.hours:.2f} hours, "
            f"{self.n_bytes / 1e6:.1f} MB ({told or 'nothing'})"
        )


def summarise(writer: Writer, found: Changes, faults: list[Failure]) -> Updated:
    """Tells what an index holds after changes, and writes its failures.jsonl.

    Args:
        writer: the index.
        found: what was done.
        faults: lines of manifests that are no recordings.
    """
    media = writer.media()
    failed = faults + [
        {"id": one.source.record_id, "media": one.source.media, "reason": one.failure}
        for one in media
        if one.failure
    ]
    path = os.path.join(writer.folder, "failures.jsonl")
    with whole_files.replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as out:
            out.write(failures.to_lines(failed))
    there = [one for one in media if not one.failure and not one.removed]
    return Updated(
        found,
        failed,
        len(there),
        writer.n_windows,
        sum(one.duration_s for one in there) / 3600,
        _n_bytes(writer.folder),
    )


def _n_bytes(folder: str) -> int:
    places = [(place, names) for place, _, names in os.walk(folder)]
    paths = [os.path.join(place, name) for place, names in places for name in names]
    return sum(origins.status(path)[0] for path in paths)
