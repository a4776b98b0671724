"""Retrieval metrics: ranks of the matching clip, recall at k, MRR, median rank.

Plain NumPy. similarity[i, j] is audio i against visual j; A->V (an audio query) reads
rows, V->A columns. A pair (query, target) of a model's branches is a direction, whose
name begins the keys of its metrics: a2v/R@1. Of several audio branches the language
stands for audio: hi2v, v2hi, hi2en.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

CUTOFFS = (1, 5, 10)  # of tables and charts
ALL_CUTOFFS = (*CUTOFFS, 50)
METRICS = (*(f"R@{k}" for k in ALL_CUTOFFS), "MRR", "MedR")
_SHORT = {"audio": "a", "visual": "v"}
_SIMILARITY_ROWS = 32
_EMBEDDING_ROWS = 512

Pair = tuple[str, str]


def pairs(branches: Iterable[str]) -> tuple[Pair, ...]:
    """All (query, target) of a model's branches, such as audio, visual or audio:hi."""
    return tuple(itertools.permutations(branches, 2))


def direction(pair: Pair) -> str:
    """Names a (query, target): a2v; hi2v for ("audio:hi", "visual")."""
    return "2".join(_SHORT.get(b, b.removeprefix("audio:")) for b in pair)


def title(direction: str) -> str:
    """A direction as it stands in tables: A->V, HI->V."""
    # A language may be l2; one with a 2 before a letter is refused where it is read.
    return re.sub("2(?=[A-Z])", "->", direction.upper())


def keys(directions: Iterable[str]) -> tuple[str, ...]:
    """The keys of all metrics of directions, in the order of tables."""
    return tuple(f"{each}/{name}" for each in directions for name in METRICS)


# Of a model with one audio branch.
DIRECTIONS = tuple(map(direction, pairs(_SHORT)))
KEYS = keys(DIRECTIONS)


def ranks(similarity: np.ndarray) -> np.ndarray:
    """Ranks the diagonal entry of each row of a similarity matrix (A->V).

    Args:
        similarity: float [N, N]; pass the transpose for V->A.

    Returns:
        int64 [N]; rank 1 is best. A rank counts the candidates that score at least as
        high as the match, itself included, so that ties count against the model: a
        collapsed one ranks everything last.

    Raises:
        ValueError: the matrix is not square, is empty or holds a NaN.

    Source: authors' metrics.py.
    Differs: their list of positions holds an entry for each tie, so that recall can
        pass 100 %; without ties the two are equal. They sort every row; counting needs
        one look at each entry.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or len(set(similarity.shape)) != 1 or not similarity.size:
        raise ValueError(
            f"ranks needs a square similarity matrix, got shape {similarity.shape}."
        )
    # Blocks follow the order in memory, or a transposed matrix takes many times longer.
    transposed = abs(similarity.strides[0]) < abs(similarity.strides[1])
    stored = similarity.T if transposed else similarity
    match = np.diagonal(similarity).copy()  # a view of it reads a cache line an entry
    rank = np.zeros(len(stored), np.int64)
    for block in _blocks(len(stored), _SIMILARITY_ROWS):
        part = stored[block]
        if np.isnan(part.min()):
            _refuse_nan(similarity)
        if transposed:
            rank += _count(part >= match, axis=0)
        else:
            at_least = part >= match[block, np.newaxis]
            rank[block] = _count(at_least, axis=1)
    return rank


def _refuse_nan(similarity: np.ndarray) -> None:
    nan_rows = np.flatnonzero(np.isnan(similarity).any(axis=1))
    raise ValueError(
        f"similarity holds a NaN in {nan_rows.size} of {len(similarity)} rows, the "
        f"first is row {nan_rows[0]}."
    )


def embedding_ranks(
    audio_embedding: np.ndarray, visual_embedding: np.ndarray
) -> dict[str, np.ndarray]:
    """Ranks the matching clip for every query in both directions, in one pass.

    A similarity is taken once, in double precision, in blocks: besides the embeddings
    it needs O(N) and a fixed number of rows of D. Two similarities tie when they
    differ by no more than such a sum can be wrong by, about D times 2e-16 of the norms.
    So clips whose embeddings are the same always tie, wherever in a block they stand.

    Args:
        audio_embedding: float [N, D].
        visual_embedding: float [N, D], row i matching audio row i.

    Returns:
        {"a2v": int64 [N], "v2a": int64 [N]}, as ranks of the similarity matrix and of
        its transpose, without that matrix.

    Raises:
        ValueError: the shapes differ, N is 0, or an embedding is not finite.
    """
    audio, visual = np.asarray(audio_embedding), np.asarray(visual_embedding)
    if audio.shape != visual.shape or audio.ndim != 2 or not len(audio):
        raise ValueError(
            f"embedding_ranks needs two [N, D] embeddings of the same shape, N > 0, "
            f"got {audio.shape} and {visual.shape}."
        )
    lowest_tie = _lowest_ties(audio, visual)
    found = {name: np.zeros(len(audio), np.int64) for name in DIRECTIONS}
    for rows in _blocks(len(audio), _EMBEDDING_ROWS):
        audio_block = audio[rows].astype(np.float64)
        for columns in _blocks(len(visual), _EMBEDDING_ROWS):
            similarity = audio_block @ visual[columns].astype(np.float64).T
            at_least = similarity >= lowest_tie["a2v"][rows, np.newaxis]
            found["a2v"][rows] += _count(at_least, axis=1)
            at_least = similarity >= lowest_tie["v2a"][columns]
            found["v2a"][columns] += _count(at_least, axis=0)
    return found


def ranks_of_pairs(
    embeddings: Mapping[str, np.ndarray], wanted: Sequence[Pair]
) -> dict[str, np.ndarray]:
    """Ranks the matching clip for every query of each pair of branches.

    Args:
        embeddings: float [N, D] by branch, rows i of all belonging together.
        wanted: pairs of branches; one and its reverse take one pass.

    Returns:
        int64 [N] by direction, in the order of the pairs.

    Raises:
        ValueError: as embedding_ranks.
    """
    found: dict[str, np.ndarray] = {}
    for pair in wanted:
        if direction(pair) not in found:
            both = embedding_ranks(*(embeddings[branch] for branch in pair))
            names = (direction(pair), direction(pair[::-1]))
            found |= dict(zip(names, both.values(), strict=True))
    return {direction(pair): found[direction(pair)] for pair in wanted}


def _lowest_ties(audio: np.ndarray, visual: np.ndarray) -> dict[str, np.ndarray]:
    """The least similarity that ties with each query's match, by direction."""
    norms = np.empty((2, len(audio)))
    match = np.empty(len(audio))
    for block in _blocks(len(audio), _EMBEDDING_ROWS):
        pair = [side[block].astype(np.float64) for side in (audio, visual)]
        with np.errstate(over="ignore", invalid="ignore"):  # found by the norms
            match[block] = np.einsum("ij,ij->i", *pair)
            norms[:, block] = [np.linalg.norm(side, axis=1) for side in pair]
    for name, finite in zip(("audio", "visual"), np.isfinite(norms), strict=True):
        if not finite.all():
            raise ValueError(
                f"{name} embedding {np.flatnonzero(~finite)[0]} of {len(finite)} is "
                f"not finite ({np.count_nonzero(~finite)} such)."
            )
    # A sum of D products is wrong by at most D/2 eps of the norms' product, whatever
    # the order (Higham 2002, section 3.1); of two sums, by twice that.
    error = (audio.shape[1] + 2) * np.finfo(np.float64).eps * norms
    (audio_error, visual_error), (audio_norm, visual_norm) = error, norms.max(axis=1)
    return {
        "a2v": match - audio_error * visual_norm,
        "v2a": match - visual_error * audio_norm,
    }


def _count(at_least: np.ndarray, axis: int) -> np.ndarray:
    """Counts along an axis, in half the time of np.count_nonzero's 64 bits."""
    return at_least.sum(axis, dtype=np.min_scalar_type(at_least.shape[axis]))


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, n, size))


def recall_at_k(rank: np.ndarray, k: int, n: int | None = None) -> float:
    """The fraction of queries whose match is among the k best.

    Args:
        rank: int [N], 1 = best.
        k: cut-off.
        n: number of queries when some could not be posed and count as misses (MSR-VTT:
            1000 with 968 present); None is N.

    Raises:
        ValueError: there is no rank, or n is smaller than their number.
    """
    rank = np.asarray(rank)
    return np.count_nonzero(rank <= k) / _n_queries(rank, n)


def mean_reciprocal_rank(rank: np.ndarray, n: int | None = None) -> float:
    """The mean of 1 / rank, between 0 and 1; the arguments are those of recall_at_k.

    A query that could not be posed counts as 0.
    """
    rank = np.asarray(rank)
    return float(np.sum(1 / rank)) / _n_queries(rank, n)


def _n_queries(rank: np.ndarray, n: int | None) -> int:
    total = len(rank) if n is None else n
    if not len(rank) or total < len(rank):
        raise ValueError(f"{len(rank)} ranks for n = {total} queries.")
    return total


def median_rank(rank: np.ndarray) -> float:
    """The median of ranks (1 = best); of an even number the mean of the middle two."""
    return float(np.median(rank))


def summary(
    found: Mapping[str, np.ndarray], n_queries: int | None = None
) -> dict[str, float]:
    """Summarises the ranks of all directions.

    Args:
        found: the ranks by direction, as from ranks_of_pairs.
        n_queries: n of recall_at_k. The median is of the ranks that are there, as the
            authors'.

    Returns:
        "n" and the keys of the directions ("a2v/R@1"): R in percent, MRR between 0
        and 1.
    """
    n_found = len(next(iter(found.values())))
    values: dict[str, float] = {"n": n_found if n_queries is None else n_queries}
    for name, rank in found.items():
        for k in ALL_CUTOFFS:
            values[f"{name}/R@{k}"] = 100 * recall_at_k(rank, k, n_queries)
        values[f"{name}/MRR"] = mean_reciprocal_rank(rank, n_queries)
        values[f"{name}/MedR"] = median_rank(rank)
    return values


def retrieval_metrics(
    audio_embedding: np.ndarray,
    visual_embedding: np.ndarray,
    n_queries: int | None = None,
) -> dict[str, float]:
    """The summary of embedding_ranks."""
    return summary(embedding_ranks(audio_embedding, visual_embedding), n_queries)


def chance(
    n: int, directions: Iterable[str] = DIRECTIONS, n_queries: int | None = None
) -> dict[str, float]:
    """The expected metrics of a random ranking of n candidates, as summary has them."""
    total = n if n_queries is None else n_queries
    values: dict[str, float] = {"n": total}
    for name in directions:
        for k in ALL_CUTOFFS:
            values[f"{name}/R@{k}"] = 100.0 * min(k, n) / total
        values[f"{name}/MRR"] = mean_reciprocal_rank(np.arange(1, n + 1), n_queries)
        values[f"{name}/MedR"] = (n + 1) / 2
    return values


def chance_beside(
    values: Mapping[str, float], directions: Iterable[str]
) -> dict[str, float]:
    """As chance, for a summary; "n_clips" in it, if there, is how many it ranked."""
    n_queries = int(values["n"])
    return chance(int(values.get("n_clips", n_queries)), directions, n_queries)
