"""Retrieval metrics: ranks of the matching clip, recall at k, MRR, median rank.

Plain NumPy. similarity[i, j] is audio i against visual j; A->V (an audio query) reads
rows, V->A columns. A pair (query, target) of a model's branches is a direction, whose
name begins the keys of its metrics: a2v/R@1. Of several audio branches the language
stands for audio: hi2v, v2hi, hi2en.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from avl_tf.metrics.counting import ranks
from avl_tf.metrics.of_embeddings import embedding_ranks

__all__ = [
    "ALL_CUTOFFS",
    "CUTOFFS",
    "DIRECTIONS",
    "KEYS",
    "METRICS",
    "Pair",
    "chance",
    "chance_beside",
    "direction",
    "embedding_ranks",
    "keys",
    "mean_reciprocal_rank",
    "median_rank",
    "pairs",
    "ranks",
    "ranks_of_pairs",
    "recall_at_k",
    "retrieval_metrics",
    "summary",
    "title",
]

CUTOFFS = (1, 5, 10)  # of tables and charts
ALL_CUTOFFS = (*CUTOFFS, 50)
METRICS = (*(f"R@{k}" for k in ALL_CUTOFFS), "MRR", "MedR")
_SHORT = {"audio": "a", "visual": "v"}

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
