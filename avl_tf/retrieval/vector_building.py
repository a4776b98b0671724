"""Makes indexes of faiss of the vectors of a store's segments, by window ids.

Few are kept as they are, in the segments' own bits. Many are reduced, listed and
quantised to a byte a number. The queries are speech and the vectors mostly pictures,
so that what is a good reduction of one is none of the other: see reduction.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import faiss
import numpy as np

from avl_tf import progress

FLAT = 250_000
# Recall is measured at so many of the best, with so many audio queries.
_BEST = 10
_QUERIES = 400
_DIMS = 256
# Samples: of a reduction, of each side; of the lists, for each of them.
_REDUCED_FROM = 20_000
_OF_EACH_LIST = 40
_SUBSPACE = 1024
_ROWS_AT_ONCE = 16_384
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Built:
    """An index of faiss, and what to measure it with.

    Attributes:
        index: by window ids.
        kind: "flat" or "reduced".
        segments: the numbers of those that it covers.
        n_dead: windows of theirs that were dead.
        queries: float32 [Q, D], audio vectors that it was not trained on; Q may be 0.
        exact: float32 [Q, 10], the scores of their best windows, largest first, -inf
            where there are fewer.
    """

    index: faiss.Index
    kind: str
    segments: tuple[int, ...]
    n_dead: int
    queries: np.ndarray
    exact: np.ndarray


def build(store: Any, side: str, flat_up_to: int = FLAT) -> Built:
    """Makes the index of all segments of a store; see Built."""
    segments = store.segments
    n = sum(one.n_windows for one in segments)
    random = np.random.default_rng(_SEED)
    kind = "reduced" if n > flat_up_to else "flat"
    wanted = _QUERIES + (_REDUCED_FROM if kind == "reduced" else 0)
    heard = sample(store, "audio", segments, wanted, random)
    queries, heard = heard[:_QUERIES], heard[_QUERIES:]
    filled: Any = empty_flat(store.model.embedding_dim)
    if kind == "reduced":
        filled = _empty_reduced(store, side, segments, heard, random)
    best = _Best(queries)
    with progress.Bar(total=n, unit="window") as bar:
        for ids, rows in read(store, side, segments):
            filled.add_with_ids(rows, ids)
            best.update(rows)
            bar.update(len(ids))
    numbers = tuple(one.number for one in segments)
    index = filled.searched if kind == "reduced" else filled
    return Built(index, kind, numbers, n - store.n_windows, queries, best.scores)


def empty_flat(dim: int) -> faiss.Index:
    """An index of float16 vectors [n, dim] by ids, with nothing in it."""
    inner = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    inner.is_trained = True  # it keeps the numbers as they are
    index = faiss.IndexIDMap(inner)
    index.is_trained = True
    return index


def flat(store: Any, side: str, segments: Sequence[Any]) -> faiss.Index:
    """All vectors of some segments, exactly, in memory."""
    index = empty_flat(store.model.embedding_dim)
    for ids, rows in read(store, side, segments):
        index.add_with_ids(rows, ids)
    return index


def lists(index: faiss.Index) -> faiss.IndexIVF | None:
    """The lists of a reduced index, or None of a flat one."""
    return isinstance(index, faiss.Index) and faiss.try_extract_index_ivf(index) or None


def read(
    store: Any, side: str, segments: Sequence[Any]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields ids int64 [n] and vectors float32 [n, D] of the windows that have any.

    Neither dead windows, nor rows of NaN: nothing is heard or seen there.
    """
    for segment in segments:
        stored = store.vectors(side, segment)
        for start in range(0, len(stored), _ROWS_AT_ONCE):
            rows = stored[start : start + _ROWS_AT_ONCE].astype(np.float32)
            ids = segment.first_window + np.arange(start, start + len(rows))
            good = np.isfinite(rows).all(axis=1) & store.alive(ids)
            yield (ids, rows) if good.all() else (ids[good], rows[good])


def sample(
    store: Any, side: str, segments: Sequence[Any], n: int, random: np.random.Generator
) -> np.ndarray:
    """Draws vectors that are not NaN: float32 [m, D], m <= n, in random order."""
    sizes = [one.n_windows for one in segments]
    behind = np.cumsum(sizes)
    chosen = random.permutation(int(np.sum(sizes)))[:n]
    chosen.sort()  # read in the order of the disk
    found = [np.zeros((0, store.model.embedding_dim), np.float32)]
    for segment, end, size in zip(segments, behind, sizes, strict=True):
        own = chosen[(chosen >= end - size) & (chosen < end)] - (end - size)
        rows = np.asarray(store.vectors(side, segment)[own], np.float32)
        found.append(rows[np.isfinite(rows).all(axis=1)])
    every = np.concatenate(found)
    return every[random.permutation(len(every))]


def reduction(
    stored: np.ndarray, queries: np.ndarray, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the linear maps that keep dot products between two distributions best.

    PCA of the stored vectors keeps what they vary in, which may not be what queries
    ask for. These minimise the expected square of q.x - (to_queries q).(to_stored x)
    over all maps of that rank: the truncated SVD of the product of the square roots of
    both second moments.

    Args:
        stored: float32 [n, D], a sample.
        queries: float32 [m, D], a sample; if m is 0, the stored ones stand for them.
        dim: to how many numbers.

    Returns:
        to_stored, to_queries: float32 [dim, D].
    """
    queries = queries if len(queries) else stored
    # Rounds of a random subspace: an exact one of 4,096 numbers takes minutes.
    both = np.concatenate([stored, queries])
    width = min(both.shape[1], max(_SUBSPACE, 2 * dim))
    basis = np.eye(both.shape[1], dtype=np.float32)
    if width < both.shape[1]:
        random = np.random.default_rng(_SEED)
        basis = random.standard_normal((both.shape[1], width)).astype(np.float32)
        for _ in range(2):
            basis, _ = np.linalg.qr(both.T @ (both @ basis))
    roots = [_root(one @ basis) for one in (queries, stored)]
    left, values, right = np.linalg.svd(roots[0][0] @ roots[1][0])
    scale = np.sqrt(values[:dim, np.newaxis])
    to_queries = scale * left.T[:dim] @ roots[0][1]
    to_stored = scale * right[:dim] @ roots[1][1]
    return tuple(  # type: ignore[return-value]
        np.ascontiguousarray(one @ basis.T, np.float32)
        for one in (to_stored, to_queries)
    )


def _root(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The square root of the second moment of rows, and its inverse: [D, D]."""
    moment = (rows.T @ rows).astype(np.float64) / len(rows)
    values, vectors = np.linalg.eigh(moment)
    # What a sample hardly shows is not blown up.
    values = np.sqrt(np.maximum(values, 0) + 1e-4 * np.trace(moment) / len(moment))
    return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T


class _Reducing:
    """Adds vectors in full to lists of reduced ones; searched is searched in full."""

    def __init__(self, to_stored: np.ndarray, to_queries: np.ndarray, lists: Any):
        self._to_stored, self._lists = to_stored, lists
        map_queries = faiss.LinearTransform(*to_queries.shape[::-1], False)
        faiss.copy_array_to_vector(to_queries.ravel(), map_queries.A)
        map_queries.is_trained = True
        self.searched = faiss.IndexPreTransform(map_queries, lists)

    def add_with_ids(self, rows: np.ndarray, ids: np.ndarray) -> None:
        self._lists.add_with_ids(rows @ self._to_stored.T, ids)
        self.searched.ntotal = self._lists.ntotal


def _empty_reduced(
    store: Any,
    side: str,
    segments: Sequence[Any],
    heard: np.ndarray,
    random: np.random.Generator,
) -> _Reducing:
    n = sum(one.n_windows for one in segments)
    stored = sample(store, side, segments, _REDUCED_FROM, random)
    dim = min(_DIMS, stored.shape[1])
    to_stored, to_queries = reduction(stored, heard, dim)
    n_lists = 1 << round(np.log2(4 * np.sqrt(n)))
    n_lists = max(1, min(n_lists, len(stored) // 2))
    left = _OF_EACH_LIST * n_lists
    reduced = []
    while left > 0:
        rows = sample(store, side, segments, min(left, _REDUCED_FROM), random)
        reduced.append(rows @ to_stored.T)
        left -= _REDUCED_FROM
    trained_on = np.concatenate([*reduced, heard @ to_queries.T])
    quantizer = faiss.IndexFlatIP(dim)
    settings = faiss.ClusteringParameters()
    settings.niter, settings.spherical, settings.seed = 8, True, _SEED
    settings.min_points_per_centroid = 1  # else it complains in C++
    settings.max_points_per_centroid = 1 << 20
    faiss.Clustering(dim, n_lists, settings).train(trained_on, quantizer)
    listed = faiss.IndexIVFScalarQuantizer(
        quantizer,
        dim,
        n_lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    listed.train(np.concatenate(reduced))
    return _Reducing(to_stored, to_queries, listed)


class _Best:
    """The best scores of some queries, over all that is read: exactly."""

    def __init__(self, queries: np.ndarray):
        self._queries = queries
        self.scores = np.full((len(queries), _BEST), -np.inf, np.float32)

    def update(self, rows: np.ndarray) -> None:
        if not len(self._queries) or not len(rows):
            return
        k = min(_BEST, len(rows))
        scores, _ = faiss.knn(self._queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
        scores = np.concatenate([self.scores, scores], axis=1)
        self.scores = -np.sort(-scores, axis=1)[:, :_BEST]
