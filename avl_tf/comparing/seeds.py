"""One system trained from several seeds: mean, spread, interval, and a paired test.

Ranks in, plain NumPy.
"""

from collections.abc import Sequence

import numpy as np

from avl_tf.evaluation import rankings, significance
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.settings.evaluation import ResamplingConfig

_DRAWN_AT_ONCE = 2**24


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the standard deviation (n - 1) of seeds' values; of one, None."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return float(np.mean(values)), deviation


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of seeds' percentages by Student's t, in 0 to 100.

    It tells of other seeds, on the same clips; of a single value it is None.
    """
    mean, deviation = mean_and_deviation(values)
    if deviation is None:
        return None
    half = _t_quantile(len(values) - 1) * deviation / len(values) ** 0.5
    return max(0.0, mean - half), min(100.0, mean + half)


def clip_interval(
    ranked: Sequence[RankedSet], direction: str, k: int, config: ResamplingConfig
) -> tuple[float, float]:
    """The 95 % interval over the clips of the mean of seeds' recall at k, in percent.

    A percentile bootstrap: clips are drawn again, for all seeds the same, so that it
    tells of other clips, for these trainings. Of one seed it is the interval that
    significance.confidence_intervals gives.

    Args:
        ranked: of the seeds.
        direction, k: of the recall.
        config: number and seed of the draws.

    Raises:
        UserError: the sets ranked are not the same; see rankings.matched.
    """
    first = ranked[0]
    found = [rankings.matched(first, one, f"recall at {k}") for one in ranked]
    hits = np.mean([ranks[direction] <= k for ranks in found], axis=0)
    random, n = np.random.default_rng(config.resampling_seed), len(hits)
    block, drawn = max(1, _DRAWN_AT_ONCE // n), []
    for begin in range(0, config.resamples, block):
        shape = min(block, config.resamples - begin), n
        drawn.append(hits[random.integers(n, size=shape)].sum(axis=1))
    tail = 50 * (1 - significance.CONFIDENCE)
    ends = np.percentile(np.concatenate(drawn), [tail, 100 - tail])
    low, high = 100 * ends / first.n_queries
    return float(low), float(high)


def p_values(
    a: Sequence[RankedSet], b: Sequence[RankedSet], k: int, config: ResamplingConfig
) -> dict[str, float]:
    """Tests two systems' recall at k on a set, both trained from the same seeds.

    Two-sided paired randomisation over the clips: were the systems alike, the two
    outcomes of a clip could as well stand the other way round. They are swapped by the
    throw of a coin, for all seeds of a clip at once, since what is hard for one
    training is hard for the next. p is how often the difference of the means is then
    at least as large as the one found: (1 + times) / (1 + resamples). It tells of other
    clips, for these trainings.

    Args:
        a, b: of the seeds, in the same order.
        k: cut-off.
        config: number and seed of the throws.

    Returns:
        p by direction.

    Raises:
        UserError: the sets ranked are not the same; see rankings.matched.

    Source: as significance.compare.
    """
    p = {}
    for direction in a[0].ranks:
        hits = np.zeros(len(a[0].clip_ids))
        for one, other in zip(a, b, strict=True):
            # All in the order of the first one's clips.
            ours = rankings.matched(a[0], one, f"recall at {k}")[direction]
            theirs = rankings.matched(a[0], other, f"recall at {k}")[direction]
            hits += (ours <= k).astype(float) - (theirs <= k)
        p[direction] = _sign_test(hits, config)
    return p


def _sign_test(difference: np.ndarray, config: ResamplingConfig) -> float:
    """The p value of a sum whose parts [N] could as well have the other sign."""
    difference = difference[difference != 0]
    random = np.random.default_rng(config.resampling_seed)
    observed, as_large = abs(difference.sum()), 0
    block = max(1, _DRAWN_AT_ONCE // max(1, len(difference)))
    for first in range(0, config.resamples, block):
        n = min(block, config.resamples - first)
        signs = random.integers(2, size=(n, len(difference)), dtype=np.int8) * 2.0 - 1
        as_large += np.count_nonzero(np.abs(signs @ difference) >= observed - 1e-9)
    return (1 + as_large) / (1 + config.resamples)


def _t_quantile(n: int) -> float:
    """The 97.5 % point of Student's t with n degrees of freedom."""
    # Under t = sqrt(n) tan(x) its density is that of cos(x)^(n - 1), on a finite span.
    x = np.linspace(-np.pi / 2, np.pi / 2, 200_001)
    density = np.cos(x).clip(0) ** (n - 1)
    area = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(n) * np.tan(np.interp(0.975, area / area[-1], x)))
