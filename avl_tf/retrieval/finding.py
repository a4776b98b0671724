"""From the embedding of a query to windows in order; no TensorFlow here."""

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avl_tf.errors import UserError
from avl_tf.retrieval import moments
from avl_tf.retrieval import rerank as reranking
from avl_tf.retrieval.calibration import Scale
from avl_tf.retrieval.entries import Window
from avl_tf.retrieval.store import Store
from avl_tf.retrieval.vectors import VectorIndex

SIDES = {"video": "visual", "audio": "audio"}
# Windows that are looked at for moments, and reranked.
_LOOKED_AT = 100
_SAMPLE = 500


class Found(NamedTuple):
    """Windows in order, their scores float32 [N] and spans; not merged to moments."""

    windows: list[Window]
    scores: np.ndarray
    spans: list[tuple[float, float]]

    def only(self, wanted: Sequence[int]) -> "Found":
        """Some of them, by their places."""
        return Found(
            [self.windows[i] for i in wanted],
            self.scores[list(wanted)],
            [self.spans[i] for i in wanted],
        )

    def moments(self, n: int) -> "Found":
        """The best of what overlaps, n at most; see avl_tf/retrieval/moments.py."""
        return self.only(moments.merge(self.windows, n, self.spans))


class Finder:
    """The vectors of an index, as they are now; any thread may use it."""

    def __init__(self, store: Store):
        self._store = store
        self._lock = threading.Lock()
        self._indexes: dict[str, tuple[int, VectorIndex]] = {}
        self._samples: dict[tuple, np.ndarray] = {}

    def find(
        self, embedding: np.ndarray, steps: np.ndarray | None, output: str, n: int
    ) -> Found:
        """Finds the best windows: as many as n moments take.

        Args:
            embedding: float32 [D], of the query.
            steps: float32 [T', D], to rerank by, or None.
            output: "video" or "audio".
            n: how many moments.
        """
        index, k = self.index(SIDES[output]), max(_LOOKED_AT, n)
        while True:
            scores, ids = (one[0] for one in index.search(embedding[np.newaxis], k))
            scores, ids = scores[ids >= 0], ids[ids >= 0]
            windows = self._store.windows(ids)
            spans = [(one.start_s, one.end_s) for one in windows]
            if steps is not None and windows:
                seen = self._store.steps_of([one.id for one in windows])
                scores, spans = reranking.rerank(steps, seen, spans, scores)
            order = np.argsort(-scores, kind="stable").tolist()
            found = Found(windows, scores, spans).only(order)
            # So many windows of one video may be a single moment.
            if len(ids) < k or len(found.moments(n).windows) == n:
                return found
            k *= 2

    def of_window(self, window_id: int, output: str) -> np.ndarray:
        """The vector that a window asks by: of the other side than output, or of that.

        Raises:
            KeyError: there is no such window.
            UserError: nothing is seen or heard in it.
        """
        self._store.segment_of(window_id)
        sides = sorted(("audio", "visual"), key=lambda one: one == SIDES[output])
        for side in sides:
            row = self.index(side).rows(np.array([window_id], np.int64))[0]
            if np.isfinite(row).all():
                return row
        raise UserError(f"window {window_id}: nothing is seen or heard in it.")

    def sample(self) -> list[int]:
        """Windows all over the index, at most so many."""
        segments = self._store.segments
        last = segments[-1].first_window + segments[-1].n_windows if segments else 0
        ids = np.arange(last, dtype=np.int64)
        ids = ids[self._store.alive(ids)]
        at = np.linspace(0, len(ids) - 1, min(_SAMPLE, len(ids))).round()
        return ids[at.astype(np.int64)].tolist()

    def scale(self, embedding: np.ndarray, output: str, sample: Sequence[int]) -> Scale:
        """What a query's scores are measured by; sample is what calibration chose."""
        key = (output, *sample)
        if key not in self._samples:
            rows = self.index(SIDES[output]).rows(np.array(sample, np.int64))
            self._samples = {**self._samples, key: rows[np.isfinite(rows).all(axis=1)]}
        scores = self._samples[key] @ embedding
        norm = float(np.linalg.norm(embedding))
        if not len(scores):
            return Scale(norm, 0.0, 1.0)
        return Scale(norm, float(scores.mean()), float(scores.std()))

    def index(self, side: str) -> VectorIndex:
        """The vectors of a side; what was added meanwhile too."""
        with self._lock:
            generation = self._store.generation
            held = self._indexes.get(side)
            if held is None or held[0] != generation:
                held = generation, VectorIndex.open(self._store, side)
                self._indexes[side] = held
            return held[1]
