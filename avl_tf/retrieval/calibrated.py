"""An index's calibration as it is kept, and what it says of the hits of a query."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avl_tf.retrieval.calibration import Calibration
from avl_tf.retrieval.finding import Finder
from avl_tf.retrieval.store import Store
from avl_tf.wording import counted

NOTE = "calibration"
# From which share of growth on it is made anew.
_GROWN = 0.1


@dataclasses.dataclass(frozen=True)
class Kept:
    """The note of an index.

    Attributes:
        records: the validation records that it was made of.
        n_queries: clips in them.
        sample: windows that a query's scores are seen against.
        searches: by "BY-OUTPUT", and "BY-OUTPUT-steps" of reranked ones.
    """

    records: str
    n_queries: int
    sample: tuple[int, ...]
    searches: Mapping[str, Calibration]

    def put(self, store: Any) -> None:
        """Keeps it in an index that is open for writing."""
        store.put_note(NOTE, dataclasses.asdict(self))

    def is_stale(self, n_windows: int) -> bool:
        """Whether an index of n_windows has grown by a tenth since."""
        then = min((one.n_windows for one in self.searches.values()), default=0)
        return n_windows > (1 + _GROWN) * then

    def __str__(self) -> str:
        # Of the search that is the default.
        last = list(self.searches.values())[-1]
        clips = counted(self.n_queries, "validation clip")
        return (
            f"calibrated with {clips}: at an error rate of 10 % the own clip of "
            f"{100 * last.power:.0f} % of them is called a match"
        )

    @classmethod
    def of(cls, store: Store) -> "Kept | None":
        """That of an index; None if it has none."""
        value = store.note(NOTE)
        if not isinstance(value, dict):
            return None
        try:
            searches = {
                key: Calibration.of_json(one) for key, one in value["searches"].items()
            }
            read = {"sample": tuple(value["sample"]), "searches": searches}
            return cls(**{**value, **read})
        except (TypeError, KeyError):  # of another version
            return None


@dataclasses.dataclass(frozen=True)
class Reading:
    """match, threshold: of an Answer; matches, precisions: of its hits; told: why."""

    match: bool | None
    threshold: float | None
    matches: Sequence[bool | None]
    precisions: Sequence[float | None]
    told: str


class Calibrated:
    """Reads the scores of an index; what is calibrated anew is seen at once."""

    def __init__(self, store: Store, finder: Finder, error_rate: float):
        self._store, self._finder, self._error_rate = store, finder, error_rate
        self._held: tuple[int, Kept | None] = (-1, None)

    def read(
        self, embedding: np.ndarray, scores: np.ndarray, search: str, reranked: bool
    ) -> Reading:
        """Says what the scores of a query's hits mean.

        Args:
            embedding: float32 [D], of the query.
            scores: float32 [n], of its hits, the best first.
            search: as "audio-video".
            reranked: by steps.
        """
        kept, nothing = self._kept(), [None] * len(scores)
        search = search.replace("image-", "video-")  # both are seen alike
        key = f"{search}-steps" if reranked else search
        if kept is None or key not in kept.searches:
            told = (
                "not calibrated for such a search: a spoken query for videos, or a "
                "video for speech, would be."
                if kept
                else "not calibrated: `python -m avl_tf.index --index_dir="
                f"{shlex.quote(self._store.folder)} --validation=RECORDS` tells what "
                "is a match."
            )
            return Reading(None, None, nothing, nothing, told)
        calibration, n_windows = kept.searches[key], self._store.n_windows
        output = search.partition("-")[2]
        scale = self._finder.scale(embedding, output, kept.sample)
        found = calibration.judge(scores.tolist(), scale, n_windows, self._error_rate)
        if not found.is_known:
            told = (
                "The query is unlike all validation clips (noise, another kind of "
                "speech or picture?): its scores say nothing. If it is what you ask, "
                "validate with clips like your queries: avl_tf.index "
                "--validation=RECORDS."
            )
            return Reading(False, None, [False] * len(scores), nothing, told)
        matches = [bool(score > found.threshold) for score in scores]
        if not np.isfinite(found.threshold):
            told = (
                f"{counted(kept.n_queries, 'validation clip')} are too few for "
                f"--error_rate={self._error_rate:g}, now that the index has "
                f"{counted(n_windows, 'window')}: nothing can be called a match."
            )
            return Reading(False, None, matches, found.precisions, told)
        told = (
            f"A score above {found.threshold:.2f} is a match: of queries like the "
            f"{counted(kept.n_queries, 'validation clip')} that fit nothing at most "
            f"{100 * self._error_rate:g} % have one."
        )
        match = bool(matches and matches[0])
        return Reading(match, found.threshold, matches, found.precisions, told)

    def _kept(self) -> Kept | None:
        generation = self._store.generation
        if self._held[0] != generation:
            self._held = generation, Kept.of(self._store)
        return self._held[1]
