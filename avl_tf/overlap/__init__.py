"""Which recordings of an evaluation set a model has been trained on.

By their ids, and by their sound: copies that were encoded anew, cut or called otherwise
are near-duplicates, as data_prep.build finds them among media.

Source: this project's own; the papers say nothing about copies.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from avl_tf import near_duplicates
from avl_tf.dataset import Records
from avl_tf.near_duplicates import Fingerprint
from avl_tf.overlap import trained_on
from avl_tf.overlap.contents import Contents, look
from avl_tf.overlap.trained_on import Learnt
from avl_tf.wording import counted

__all__ = ["Learnt", "Shared", "find", "look", "tell", "trained_on"]

# Hashes of two records that must be the same for a look at when.
_MIN_COMMON = 4
# Of a training set, no more records are compared with one of an evaluation set.
_MOST_COMPARED = 16
# Records with fewer different hashes are not told apart by them.
_TELLING = 8
_NAMED, _LISTED = 3, 1000


@dataclasses.dataclass(frozen=True)
class Shared:
    """The recordings of an evaluation set that were trained on.

    Attributes:
        n_recordings: how many the set has.
        same: the ids of those that a training set holds too, sorted.
        near_duplicates: of the others, id -> id of the recording that sounds alike.
        runs: the runs that were trained on any of them.
    """

    n_recordings: int
    same: tuple[str, ...]
    near_duplicates: Mapping[str, str]
    runs: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.same or self.near_duplicates)

    def __str__(self) -> str:
        n_shared = len(self.same) + len(self.near_duplicates)
        pairs = [f"{ours} ~ {theirs}" for ours, theirs in self._pairs()]
        kinds = [
            f"{len(found)} {what} ({', '.join(found[:_NAMED])}"
            f"{', ...' if len(found) > _NAMED else ''})"
            for found, what in (
                (self.same, "by the same id"),
                (pairs, "as near-duplicates"),
            )
            if found
        ]
        verb = "is" if n_shared == 1 else "are"
        return (
            f"{n_shared} of {counted(self.n_recordings, 'recording')} {verb} among the "
            f"training records of {' and '.join(self.runs)}: {', '.join(kinds)}"
        )

    def to_json(self) -> dict:
        """For recall.json: counts, and the first thousand of each kind."""
        return {
            "n_recordings": self.n_recordings,
            "n_same": len(self.same),
            "n_near_duplicates": len(self.near_duplicates),
            "runs": list(self.runs),
            "same": list(self.same[:_LISTED]),
            "near_duplicates": dict(self._pairs()[:_LISTED]),
        }

    def _pairs(self) -> list[tuple[str, str]]:
        return sorted(self.near_duplicates.items())


def tell(
    learnt: Sequence[Learnt], sets: Mapping[str, Records], chooses: str = ""
) -> dict[str, dict]:
    """Warns, a line a set, of evaluation sets that a model has been trained on.

    Args:
        learnt: what trained_on.read returned.
        sets: evaluation sets by name.
        chooses: the set by which --best_metric chooses, if there is one.

    Returns:
        For recall.json: Shared.to_json of each set that shares recordings.
    """
    found = {}
    for name, records in sets.items() if learnt else ():
        if shared := find(learnt, look(records)):
            chosen = " and --best_metric chooses by it" if name == chooses else ""
            logging.warning(
                "evaluation set '%s': %s. Its numbers are of what was seen in "
                "training%s (docs/evaluation.md).",
                name,
                shared,
                chosen,
            )
            found[name] = shared.to_json()
    return found


def find(learnt: Sequence[Learnt], evaluated: Contents) -> Shared:
    """Finds the recordings of an evaluation set that were trained on.

    An id is taken for another recording's, as corpora of 001, 002, ... share them, if
    a training record is called the same altogether and both have a sound, but not one
    that is alike.
    """
    same: set[str] = set()
    alike: dict[str, str] = {}
    runs: dict[str, None] = {}
    for stage in learnt:
        trained = stage.contents
        of_recording = collections.defaultdict(list)
        for index, recording_id in enumerate(trained.recording_ids):
            of_recording[recording_id].append(index)
        matches = _matches(trained, evaluated)
        for index, recording_id in enumerate(evaluated.recording_ids):
            namesakes = of_recording.get(recording_id, [])
            matching = matches.get(index, [])
            if namesakes and not _is_another(
                trained, evaluated, namesakes, index, matching
            ):
                same.add(recording_id)
                runs[stage.run] = None
            elif matching:
                alike.setdefault(recording_id, trained.recording_ids[matching[0]])
                runs[stage.run] = None
    return Shared(
        len(set(evaluated.recording_ids)),
        tuple(sorted(same)),
        {ours: theirs for ours, theirs in alike.items() if ours not in same},
        tuple(runs),
    )


def _is_another(
    trained: Contents,
    evaluated: Contents,
    namesakes: Sequence[int],
    index: int,
    matching: Sequence[int],
) -> bool:
    """Whether a record is of another recording than its namesakes in training."""
    if not set(namesakes).isdisjoint(matching):
        return False
    ours = evaluated.ids[index]
    called_alike = [one for one in namesakes if trained.ids[one] == ours]
    fingerprints = [trained.fingerprint(one) for one in called_alike]
    fingerprints.append(evaluated.fingerprint(index))
    return bool(called_alike) and all(map(_is_telling, fingerprints))


def _is_telling(fingerprint: Fingerprint) -> bool:
    return len(np.unique(fingerprint.hashes)) >= _TELLING


def _matches(trained: Contents, evaluated: Contents) -> dict[int, list[int]]:
    """Index of an evaluated record -> those of the training records that are alike."""
    order = np.argsort(trained.hashes, kind="stable")
    hashes = trained.hashes[order]
    owners = np.searchsorted(trained.ends, order, side="right")
    firsts = np.ones(len(owners), bool)
    firsts[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    found = {}
    for index in range(len(evaluated.ids)):
        ours = evaluated.fingerprint(index)
        wanted = np.unique(ours.hashes).astype(hashes.dtype)
        begins = np.searchsorted(hashes, wanted, side="left")
        ends = np.searchsorted(hashes, wanted, side="right")
        # Each training record once a hash, however often it is heard in it.
        common = [
            owners[begin:end][firsts[begin:end]]
            for begin, end in zip(begins, ends, strict=True)
            if end > begin
        ]
        if len(common) < _MIN_COMMON:
            continue
        # A jingle may be in most of the training set: nothing is sorted but what has
        # enough in common.
        counts = np.bincount(np.concatenate(common))
        others = np.flatnonzero(counts >= _MIN_COMMON)
        enough = np.argsort(-counts[others], kind="stable")[:_MOST_COMPARED]
        # In pairs: what the others share with each other is of no use.
        matching = [
            one
            for one in map(int, others[enough])
            if near_duplicates.find_matches([ours, trained.fingerprint(one)], "log_mel")
        ]
        if matching:
            found[index] = matching
    return found
