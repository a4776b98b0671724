"""Ranks of embeddings in both directions, without their similarity matrix.

Nearly every similarity is far enough from the match's for single precision to tell
which is higher. The few that are not are taken again in double precision.
"""

import concurrent.futures
import math
from collections.abc import Iterable

import numpy as np

from avl_tf.metrics import single_products
from avl_tf.metrics.counting import blocks, count

_THREADS = 2
_ROWS = 1024  # and as many columns are counted at once
_PRODUCT_ROWS = 2 * _ROWS  # a multiple, so that blocks with matches begin alike
_FEW = 256  # are taken again in double precision at once
_FEW_ROWS = 32  # of both sides in double precision stay in a cache
# A side whose largest norm is beyond 2 ** 16 or below 2 ** -16 is scaled to 1.
_MODERATE = 16
# What underflow can cost a term of a sum of such, flushed to zero or not: 2 ** -126 of
# the product, of the sum and of each number, which another of 2 ** 16 may multiply.
_UNDERFLOW = 2.0**-107
# Below, squares in double precision may underflow: such norms bound nothing.
_LEAST_NORM = 2.0**-300


def embedding_ranks(
    audio_embedding: np.ndarray, visual_embedding: np.ndarray
) -> dict[str, np.ndarray]:
    """Ranks the matching clip for every query in both directions, in one pass.

    The ranks are those of similarities in double precision. Two of them tie when they
    differ by no more than such a sum can be wrong by, about D times 2e-16 of the norms.
    So clips whose embeddings are the same always tie, wherever they stand.

    Similarities are taken in single precision, in blocks: besides the embeddings it
    needs O(N) and a fixed number of rows of D. Where the error bound (_limits) leaves
    open whether one reaches the match's, the rows and columns of all such of a block
    are taken again in double precision; of a collapsed model that is the whole block.

    Args:
        audio_embedding: float [N, D].
        visual_embedding: float [N, D], row i matching audio row i.

    Returns:
        {"a2v": int64 [N], "v2a": int64 [N]}, as ranks of the similarity matrix and of
        its transpose, without that matrix.

    Raises:
        ValueError: the shapes differ, N is 0, or an embedding is not finite.
    """
    both = np.asarray(audio_embedding), np.asarray(visual_embedding)
    if both[0].shape != both[1].shape or both[0].ndim != 2 or not len(both[0]):
        raise ValueError(
            f"embedding_ranks needs two [N, D] embeddings of the same shape, N > 0, "
            f"got {both[0].shape} and {both[1].shape}."
        )
    found = {name: np.zeros(len(both[0]), np.int64) for name in ("a2v", "v2a")}
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        audio, visual = _sides(*both, pool)
    fast = len(both[0]) > _ROWS and single_products.has_tensorflow()
    # While one block is counted, on one core, another is multiplied on all of them.
    # OpenBLAS does not share them: its threads wait by spinning.
    with concurrent.futures.ThreadPoolExecutor(_THREADS if fast else 1) as pool:
        rows = list(blocks(len(both[0]), _PRODUCT_ROWS))
        counts = pool.map(lambda some: _count_rows(audio, some, visual, fast), rows)
        for some, (a2v, v2a) in zip(rows, counts, strict=True):
            found["a2v"][some] = a2v
            found["v2a"] += v2a
    return found


def _count_rows(
    audio: "_Side", rows: slice, visual: "_Side", with_tensorflow: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Counts what reaches the matches, in the order of both directions.

    Returns:
        int64 [rows], what reaches each row's; int64 [N], how many rows reach each
        column's.
    """
    product = single_products.by_rows(audio.single(rows), with_tensorflow)
    n_rows = len(audio.norm[rows])
    reached = np.zeros(n_rows, np.int64), np.zeros(len(visual.norm), np.int64)
    for columns in blocks(len(visual.norm), _ROWS):
        similarity = product(visual.single(columns))
        for some in blocks(n_rows, _ROWS):
            here = slice(rows.start + some.start, rows.start + min(some.stop, n_rows))
            a2v, v2a = _reaching(similarity[some], audio, here, visual, columns)
            reached[0][some] += count(a2v, axis=1)
            reached[1][columns] += count(v2a, axis=0)
    return reached


def _reaching(
    similarity: np.ndarray,
    audio: "_Side",
    rows: slice,
    visual: "_Side",
    columns: slice,
) -> tuple[np.ndarray, np.ndarray]:
    """Tells which of a block reach their row's match and which their column's."""
    low, high = _limits(audio, rows, visual, columns)
    a2v = similarity >= low[:, np.newaxis]
    unsure = a2v ^ (similarity >= high[:, np.newaxis])
    low, high = _limits(visual, columns, audio, rows)
    v2a = similarity >= low
    unsure |= v2a ^ (similarity >= high)
    is_own = rows.start == columns.start
    if is_own:
        np.fill_diagonal(unsure, False)
    if unsure.any():
        row, column = np.divmod(np.flatnonzero(unsure), unsure.shape[1])
        some, others = np.unique(row), np.unique(column)
        if len(row) <= len(some) + len(others):
            exact = np.empty(len(row))
            for few in blocks(len(row), _FEW):
                pair = audio.double(rows, row[few]), visual.double(columns, column[few])
                exact[few] = np.einsum("ij,ij->i", *pair)
        else:  # their rows and columns, whole
            side = visual.double(columns, others).T
            exact = np.concatenate(
                [audio.double(rows, some[f]) @ side for f in blocks(len(some), _FEW)]
            )
            row, column = some[:, np.newaxis], others
        a2v[row, column] = exact >= audio.lowest[rows][row]
        v2a[row, column] = exact >= visual.lowest[columns][column]
    if is_own:  # The match reaches itself, in whatever order its sum was taken.
        np.fill_diagonal(a2v, True)
        np.fill_diagonal(v2a, True)
    return a2v, v2a


class _Side:
    """The embeddings of one side.

    Attributes:
        scale: the power of two that single multiplies by.
        norm: float64 [N], of the scaled embeddings.
        lowest: float64 [N], the least similarity that ties with each one's match.
    """

    def __init__(self, embedding: np.ndarray, norm: np.ndarray, lowest: np.ndarray):
        self._embedding = embedding
        exponent = math.frexp(norm.max())[1]
        self.bounded = norm.max() >= _LEAST_NORM
        scaled = self.bounded and abs(exponent) > _MODERATE
        self.scale = 2.0**-exponent if scaled else 1.0
        self.norm = self.scale * norm
        self.lowest = lowest

    @property
    def dim(self) -> int:
        return self._embedding.shape[1]

    def single(self, rows: slice) -> np.ndarray:
        """Scaled rows; not a copy unless they have to be."""
        block = self._embedding[rows]
        if self.scale != 1:
            block = block.astype(np.float64) * self.scale
        return np.ascontiguousarray(block, np.float32)

    def double(self, rows: slice, some: np.ndarray) -> np.ndarray:
        """Some of the rows of a block, not scaled."""
        return self._embedding[rows][some].astype(np.float64)


def _sides(
    audio: np.ndarray, visual: np.ndarray, pool: concurrent.futures.Executor
) -> tuple[_Side, _Side]:
    norms = np.empty((2, len(audio)))
    match = np.empty(len(audio))

    def measure(rows: Iterable[slice]) -> None:
        for some in rows:
            pair = [side[some].astype(np.float64) for side in (audio, visual)]
            with np.errstate(over="ignore", invalid="ignore"):  # found by the norms
                match[some] = np.einsum("ij,ij->i", *pair)
                norms[:, some] = [np.sqrt(np.einsum("ij,ij->i", s, s)) for s in pair]

    few = list(blocks(len(audio), _FEW_ROWS))
    list(pool.map(measure, (few[start::_THREADS] for start in range(_THREADS))))
    for name, finite in zip(("audio", "visual"), np.isfinite(norms), strict=True):
        if not finite.all():
            raise ValueError(
                f"{name} embedding {np.flatnonzero(~finite)[0]} of {len(finite)} is "
                f"not finite ({np.count_nonzero(~finite)} such)."
            )
    # A sum of D products is wrong by at most D/2 eps of the norms' product, whatever
    # the order (Higham 2002, section 3.1); of two sums, by twice that.
    error = (audio.shape[1] + 2) * np.finfo(np.float64).eps * norms
    largest = norms.max(axis=1)
    return (
        _Side(audio, norms[0], match - error[0] * largest[1]),
        _Side(visual, norms[1], match - error[1] * largest[0]),
    )


def _limits(
    queries: _Side, rows: slice, candidates: _Side, columns: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Tells what of a product's similarities is sure, float32 [rows] twice.

    Below the first a similarity in double precision does not reach the query's lowest,
    from the second on it does.

    With u = 2 ** -24, a sum of n products x_i y_i in single precision is wrong by at
    most n u / (1 - n u) of the sum of |x_i y_i|, in any order, fused or not (Higham
    2002, Accuracy and Stability of Numerical Algorithms, section 3.1), for no term is
    rounded more than n times. Here n is single_products.n_roundings; two for numbers
    that were not single; one for the sums and norms in double precision (D 2 ** -52 is
    less than u). The sum of |x_i y_i| is at most the product of the norms (Cauchy and
    Schwarz).
    """
    if not (queries.bounded and candidates.bounded):
        beyond = np.full_like(queries.lowest[rows], np.inf, np.float32)
        return -beyond, beyond
    n_roundings = single_products.n_roundings(queries.dim) + 3
    relative = n_roundings * 2.0**-24 / (1 - n_roundings * 2.0**-24)
    norms = queries.norm[rows] * candidates.norm[columns].max()
    error = relative * norms + queries.dim * _UNDERFLOW
    lowest = queries.lowest[rows] * (queries.scale * candidates.scale)
    # A step outwards, as rounding to single precision may be one inwards.
    outwards = np.float32(np.inf)
    return (
        np.nextafter((lowest - error).astype(np.float32), -outwards),
        np.nextafter((lowest + error).astype(np.float32), outwards),
    )
