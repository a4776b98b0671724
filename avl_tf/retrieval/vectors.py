"""Nearest vectors of an index: a faiss file as a cache over the store's segments.

In: a store (avl_tf/retrieval/store.py). Out: the ids of the windows whose vectors have
the largest dot products with queries. Up to FLAT windows every product is taken, of
the bits that the segments hold; above, the vectors are reduced and listed
(vector_building.py), and the best few hundred are looked at again in the segments.
Whatever the cache does not cover yet is looked at exactly, beside it.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from absl import logging

from avl_tf.errors import UserError
from avl_tf.retrieval import milvus, vector_building, vector_cache
from avl_tf.retrieval.entries import SIDES
from avl_tf.retrieval.vector_building import FLAT, Built
from avl_tf.retrieval.vector_cache import Cached
from avl_tf.retrieval.writing import Writer, writing
from avl_tf.wording import counted

# Of the reduced vectors, how many are looked at again in full.
_LOOKED_AT_AGAIN = 300
# More and more lists are looked through, until recall@10 is this.
_FEWEST_LISTS, _WANTED = 8, 0.987
# Of the largest score: so much do two ways of adding up its products differ.
_ROUNDING = 1e-5


Held = Built | Cached | milvus.Collection


class VectorIndex:
    """Searches one side of an index, "visual" or "audio"; from open.

    It shows the segments that were there when it was opened; windows that die later
    are not found any more.
    """

    def __init__(self, store: Any, side: str, held: Held | None):
        """Takes an open store and an index of faiss or a Milvus; its lack is added."""
        self._store, self._side = store, side
        self._segments = list(store.segments)
        self._firsts = np.array([one.first_window for one in self._segments], np.int64)
        self._rows: dict[int, np.ndarray] = {}
        self._alive: np.ndarray | None = None
        covered = held.segments if held else ()
        self._indexes = [held.index] if held else []
        tail = [one for one in self._segments if one.number not in covered]
        if tail:
            self._indexes.append(vector_building.flat(store, side, tail))

    @classmethod
    def open(cls, store: Any, side: str) -> "VectorIndex":
        """Opens the cache of a side, made if there is none that fits, or its Milvus.

        Where it cannot be kept (a folder that cannot be written, another process that
        writes the index) the vectors are held in memory.

        Args:
            store: the index; one for reading is opened once more, to write.
            side: "visual" or "audio".

        Raises:
            UserError: the index keeps its vectors in a Milvus, which does not answer.
        """
        if milvus.uri(store):
            return cls(store, side, milvus.opened(store, side))
        held = vector_cache.read(store, side)
        if held is None and store.segments:
            try:
                with _writing(store) as writer:
                    build(writer, side)
                held = vector_cache.read(store, side)
            except (UserError, OSError) as error:
                logging.warning(
                    "the vectors of the index are held in memory: %s Run "
                    "avl_tf.index to make the cache.",
                    error,
                )
        return cls(store, side, held)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k windows whose vectors have the largest dot products.

        Args:
            queries: float32 [Q, D].
            k: how many.

        Returns:
            Scores float32 [Q, k], largest first, and window ids int64 [Q, k]; where
            there are fewer windows, -inf and -1.

        Raises:
            ValueError: the queries are not of this shape, or not finite.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or not np.isfinite(queries).all():
            raise ValueError(f"queries [Q, D] expected, got {queries.shape}, or a NaN.")
        scores, ids = self._search(queries, k)
        found = ids >= 0
        alive = np.zeros(ids.shape, bool)
        alive[found] = self._store.alive(ids[found])
        if not np.array_equal(alive, found):
            # Known from now on: the next search does not meet them.
            last = max(one.first_window + one.n_windows for one in self._segments)
            self._alive = self._store.alive(np.arange(last, dtype=np.int64))
            scores, ids = self._search(queries, k)
        return scores, ids

    def rows(self, window_ids: np.ndarray) -> np.ndarray:
        """The vectors of windows, as the segments hold them: float32 [N, D]."""
        at = np.searchsorted(self._firsts, window_ids, "right") - 1
        found: np.ndarray | None = None
        for place in np.unique(at):
            segment = self._segments[place]
            if place not in self._rows:
                self._rows[place] = self._store.vectors(self._side, segment)
            chosen = at == place
            rows = self._rows[place][window_ids[chosen] - segment.first_window]
            if found is None:
                found = np.empty((len(window_ids), rows.shape[1]), np.float32)
            found[chosen] = rows
        return np.zeros((0, 0), np.float32) if found is None else found

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        for index in self._indexes:
            found = self._search_one(index, queries, k)
            every = np.concatenate([scores, found[0]], axis=1)
            scores, ids = _best(every, np.concatenate([ids, found[1]], axis=1), k)
        return scores, ids

    def _search_one(
        self, index: faiss.Index, queries: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if vector_building.lists(index) is None:
            return _nearest(index, queries, k, self._selector())
        n = max(_LOOKED_AT_AGAIN, 2 * k)
        _, ids = _nearest(index, queries, n, self._selector())
        scores = np.full(ids.shape, -np.inf, np.float32)
        for query, row, row_ids in zip(queries, scores, ids, strict=True):
            there = row_ids >= 0
            row[there] = self.rows(row_ids[there]) @ query
        return _best(scores, ids, k)

    def _selector(self) -> faiss.IDSelector | None:
        if self._alive is None:
            return None
        return faiss.IDSelectorBitmap(np.packbits(self._alive, bitorder="little"))


def _best(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row, in order."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return tuple(  # type: ignore[return-value]
        np.take_along_axis(one, order, 1) for one in (scores, ids)
    )


def _nearest(
    index: faiss.Index,
    queries: np.ndarray,
    k: int,
    selector: faiss.IDSelector | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """faiss' search; what is not there has -inf and -1."""
    k = min(k, max(1, index.ntotal))
    params = None
    if selector is not None:
        params = faiss.SearchParameters(sel=selector)
        listed = vector_building.lists(index)
        if listed is not None:
            params = faiss.SearchParametersIVF(sel=selector, nprobe=listed.nprobe)
        if isinstance(index, faiss.IndexPreTransform):
            params = faiss.SearchParametersPreTransform(index_params=params)
    scores, ids = index.search(queries, k, params=params)
    scores[ids < 0] = -np.inf
    return scores, ids


@dataclasses.dataclass(frozen=True)
class Report:
    """What a build gave: n windows in it, recall@10 against exact with audio queries.

    recall is None where there are no audio queries.
    """

    side: str
    kind: str
    n: int
    recall: float | None
    n_queries: int
    n_bytes: int
    seconds: float

    def __str__(self) -> str:
        how = "exact" if self.kind == "flat" else "reduced"
        queries = "audio query" if self.n_queries == 1 else "audio queries"
        recall = (
            "no audio queries to measure recall with"
            if self.recall is None
            else f"recall@10 {self.recall:.3f} of exact ({self.n_queries} {queries})"
        )
        return (
            f"{self.side} vectors: {counted(self.n, 'window')}, {how}, {recall}, "
            f"{self.n_bytes / 1e6:.1f} MB, {self.seconds:.1f} s"
        )


def build(store: Writer, side: str, flat_up_to: int = FLAT) -> Report:
    """Makes the cache of a side anew, and measures its recall@10 with audio queries.

    Args:
        store: the index; its note "vectors-SIDE" is set.
        side: "visual" or "audio".
        flat_up_to: so many windows are not reduced.

    Raises:
        OSError: the cache cannot be written.
    """
    started = time.monotonic()
    built = vector_building.build(store, side, flat_up_to)
    recall, n_queries = None, len(built.queries)
    if np.isfinite(built.exact).any():  # something is asked, and there to be found
        index = VectorIndex(store, side, built)
        # Half of them choose how many lists are looked through.
        _choose_lists(index, built)
        recall = _recall(index, built, slice(n_queries // 2, None))
        n_queries -= n_queries // 2
    note = vector_cache.write(store, side, built, recall, n_queries)
    seconds = time.monotonic() - started
    return Report(side, note.kind, note.n, recall, n_queries, note.size, seconds)


def _choose_lists(index: VectorIndex, built: Built) -> None:
    listed = vector_building.lists(built.index)
    if listed is None:
        return
    listed.nprobe = min(_FEWEST_LISTS, listed.nlist)
    half = slice(0, len(built.queries) // 2)
    while listed.nprobe < listed.nlist and _recall(index, built, half) < _WANTED:
        listed.nprobe = min(round(1.4 * listed.nprobe), listed.nlist)


def _recall(index: VectorIndex, built: Built, of: slice) -> float:
    queries, exact = built.queries[of], built.exact[of]
    if not len(queries):
        return 1.0
    scores, _ = index.search(queries, exact.shape[1])
    there = np.isfinite(exact)
    # Of windows that are equal any is right.
    worst = np.min(exact, axis=1, keepdims=True, where=there, initial=np.inf)
    size = np.max(np.abs(exact), axis=1, keepdims=True, where=there, initial=0)
    return float(np.mean((scores >= worst - _ROUNDING * size)[there]))


@contextlib.contextmanager
def _writing(store: Any) -> Iterator[Writer]:
    if isinstance(store, Writer):
        yield store
    else:
        with writing(store.folder) as writer:
            yield writer


def refresh(store: Writer, flat_up_to: int = FLAT) -> list[Report] | list[str]:
    """Makes the caches that are not there or cover too little; or fills a Milvus.

    Returns:
        A report of each side that was changed.
    """
    if address := milvus.uri(store):
        changed = {side: milvus.fill(store, side) for side in SIDES}
        told = "{} vectors: {} written to or deleted from milvus:{}"
        sides = [(side, counted(n, "window")) for side, n in changed.items() if n]
        return [told.format(*one, address) for one in sides]
    return [
        build(store, side, flat_up_to)
        for side in SIDES
        if store.segments and vector_cache.is_stale(store, side)
    ]
