"""How sure retrieval metrics are: bootstrap intervals, and a paired test of two models.

Ranks in, plain NumPy. Queries are drawn again, the clips that they are ranked against
stay. What varies is which queries the set happens to hold, not the seed of training.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist

import numpy as np

from avl_tf import metrics
from avl_tf.settings.evaluation import ResamplingConfig

CONFIDENCE = 0.95
_RANKS_AT_ONCE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Difference:
    """One metric of two models on the same queries; difference is a - b."""

    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    p_value: float


def confidence_intervals(
    found: Mapping[str, np.ndarray],
    config: ResamplingConfig,
    n_queries: int | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap intervals of every metric of metrics.summary.

    Args:
        found: the ranks by direction, as from metrics.embedding_ranks.
        config: number and seed of the resamples; the same give the same intervals.
        n_queries: n of metrics.recall_at_k; queries that could not be posed are misses
            in every resample.

    Returns:
        {"a2v/R@1": (low, high), ...}, in the metric's unit.

    Raises:
        ValueError: as metrics.recall_at_k.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    ranks, names = np.stack(list(found.values())), list(found)
    n = ranks.shape[-1]
    random = np.random.default_rng(config.resampling_seed)
    drawn = []
    for size in _blocks(config.resamples, ranks.size):
        index = np.stack([random.integers(n, size=n) for _ in range(size)])
        drawn.append(_values(ranks[:, index], n_queries))
    return dict(zip(metrics.keys(names), _interval(drawn), strict=True))


def recall_interval(percent: np.ndarray | float, n: int) -> np.ndarray:
    """95 % intervals of recalls by their values alone, for charts.

    Without the ranks there is nothing to draw from again; for a proportion this
    interval needs the number of queries only, and keeps within 0 and 100 %.

    Args:
        percent: float [...], recalls.
        n: number of queries.

    Returns:
        float [2, ...]: low and high, in percent.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical
        inference.
    """
    share = np.asarray(percent) / 100
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return 100 * np.clip(
        np.stack([middle - half, middle + half]) / (1 + z**2 / n), 0, 1
    )


def widest_interval(n: int) -> float:
    """How wide, in points, the 95 % interval of a recall of n queries can be."""
    low, high = recall_interval(50.0, n)
    return float(high - low)


def compare(
    found_a: Mapping[str, np.ndarray],
    found_b: Mapping[str, np.ndarray],
    config: ResamplingConfig,
    n_queries: int | None = None,
) -> dict[str, Difference]:
    """Tests every metric of two models on the same queries.

    The interval of a - b is a paired bootstrap: both models' ranks of the same draws.
    The p value is that of a paired randomisation test, two-sided: were the models
    alike, the two ranks of a query could as well stand the other way round. They are
    swapped by the throw of a coin, and p is how often the difference is then at least
    as large as the one found: (1 + times) / (1 + resamples).

    Args:
        found_a, found_b: the ranks by direction, entry i of both being the same query
            among the same clips.
        config, n_queries: as for confidence_intervals.

    Raises:
        ValueError: the numbers of ranks differ, or as metrics.recall_at_k.

    Source: Smucker, Allan and Carterette 2007 (A Comparison of Statistical Significance
        Tests for Information Retrieval Evaluation) for the test; Phipson and Smyth 2010
        for the 1 + in p.
    """
    names = list(found_a)
    a, b = (np.stack([found[name] for name in names]) for found in (found_a, found_b))
    if a.shape != b.shape:
        raise ValueError(f"{a.shape[1]} ranks of a, {b.shape[1]} of b.")
    n = a.shape[-1]
    random = np.random.default_rng(config.resampling_seed)

    def values(ranks: np.ndarray) -> np.ndarray:
        return _values(ranks, n_queries)

    values_a, values_b = (values(ranks[:, np.newaxis])[0] for ranks in (a, b))
    observed = values_a - values_b
    drawn, swapped = [], []
    for size in _blocks(config.resamples, 2 * a.size):
        both = [(random.integers(n, size=n), random.random(n)) for _ in range(size)]
        index, tossed = (np.stack(part) for part in zip(*both, strict=True))
        drawn.append(values(a[:, index]) - values(b[:, index]))
        # [directions, resamples, N]
        sides, swap = (a[:, np.newaxis], b[:, np.newaxis]), tossed < 0.5
        first, second = np.where(swap, *sides[::-1]), np.where(swap, *sides)
        swapped.append(values(first) - values(second))
    # Sums that are equal on paper differ in their last bits.
    as_large = np.abs(np.concatenate(swapped)) >= np.abs(observed) - 1e-9
    p_values = (1 + as_large.sum(axis=0)) / (1 + config.resamples)
    rows = zip(
        values_a.tolist(),
        values_b.tolist(),
        observed.tolist(),
        _interval(drawn),
        p_values.tolist(),
        strict=True,
    )
    keys = metrics.keys(names)
    return {key: Difference(*row) for key, row in zip(keys, rows, strict=True)}


def _blocks(n_resamples: int, n_each: int) -> Iterator[int]:
    """How many resamples of n_each ranks to take at once, until there are enough."""
    most = max(1, _RANKS_AT_ONCE // n_each)
    for start in range(0, n_resamples, most):
        yield min(most, n_resamples - start)


def _values(ranks: np.ndarray, n_queries: int | None) -> np.ndarray:
    """The metrics of resamples, to the last bit those of metrics.summary.

    Args:
        ranks: int [directions, resamples, N].
        n_queries: as for confidence_intervals.

    Returns:
        float64 [resamples, metrics], these in the order of metrics.keys.
    """
    total = ranks.shape[-1] if n_queries is None else n_queries
    if not 0 < ranks.shape[-1] <= total:
        raise ValueError(f"{ranks.shape[-1]} ranks for n = {total} queries.")
    columns = []
    for rank in ranks:
        columns += [
            100 * (np.count_nonzero(rank <= k, axis=1) / total)
            for k in metrics.ALL_CUTOFFS
        ]
        columns.append(np.sum(1 / rank, axis=1) / total)
        columns.append(np.median(rank, axis=1))
    return np.stack(columns, axis=1)


def _interval(drawn: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))
