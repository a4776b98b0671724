import numpy as np
import pytest

from avl_tf import metrics
from avl_tf.evaluation import significance
from avl_tf.evaluation.significance import ResamplingConfig


def _both(rank):
    return {direction: np.asarray(rank) for direction in metrics.DIRECTIONS}


def _found(random, n, worst):
    """Ranks drawn evenly from 1 to worst."""
    return {d: random.integers(1, worst + 1, n) for d in metrics.DIRECTIONS}


def test_intervals_of_recall_are_the_binomial_ones():
    # 100 hits of 400: the resampled number of hits is binomial, sd 8.66 of 400.
    found = _both([1] * 100 + [2] * 300)
    intervals = significance.confidence_intervals(found, ResamplingConfig(4000))
    for direction in metrics.DIRECTIONS:
        assert intervals[f"{direction}/R@1"] == pytest.approx((20.8, 29.3), abs=0.4)
        assert intervals[f"{direction}/R@5"] == (100, 100)
        low, high = (0.5 + 0.5 * share for share in (0.208, 0.293))
        assert intervals[f"{direction}/MRR"] == pytest.approx((low, high), abs=2e-3)
        assert intervals[f"{direction}/MedR"] == (2, 2)
    assert tuple(intervals) == metrics.KEYS


def test_missing_queries_are_misses_in_every_resample():
    found = _both([1] * 50 + [2] * 50)
    config = ResamplingConfig(500)
    whole = significance.confidence_intervals(found, config)
    half = significance.confidence_intervals(found, config, n_queries=200)
    for key in ("a2v/R@1", "v2a/MRR"):
        assert half[key] == pytest.approx([end / 2 for end in whole[key]])
    assert half["a2v/R@5"] == (50, 50)
    assert half["a2v/MedR"] == whole["a2v/MedR"]


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(0)
    truth = {"a2v/R@5": 25.0, "a2v/MRR": np.mean(1 / np.arange(1, 21))}
    held = dict.fromkeys(truth, 0)
    for _ in range(150):
        found = _found(random, 100, worst=20)
        intervals = significance.confidence_intervals(found, ResamplingConfig(150))
        for key, value in truth.items():
            low, high = intervals[key]
            held[key] += low <= value <= high
    for key in truth:
        assert 0.88 < held[key] / 150 < 0.99, key


def test_resamples_taken_at_once_are_those_of_one_by_one(monkeypatch):
    found = _found(np.random.default_rng(1), 41, worst=39)
    config = ResamplingConfig(resamples=30, resampling_seed=3)
    random = np.random.default_rng(3)
    drawn = []
    for _ in range(30):
        index = random.integers(41, size=41)
        of_draw = metrics.summary({k: v[index] for k, v in found.items()}, 50)
        drawn.append([of_draw[key] for key in metrics.keys(found)])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    for at_once in (1, 82 * 7, 1 << 20):
        monkeypatch.setattr(significance, "_RANKS_AT_ONCE", at_once)
        intervals = significance.confidence_intervals(found, config, 50)
        np.testing.assert_allclose(
            list(intervals.values()), np.stack([low, high], axis=1), rtol=1e-15
        )


def test_the_same_seed_gives_the_same_answer_and_another_seed_another():
    random = np.random.default_rng(1)
    a, b = (_found(random, 60, worst=30) for _ in range(2))
    for compute in (
        lambda config: significance.confidence_intervals(a, config),
        lambda config: significance.compare(a, b, config),
    ):
        assert compute(ResamplingConfig(50, 3)) == compute(ResamplingConfig(50, 3))
        assert compute(ResamplingConfig(50, 3)) != compute(ResamplingConfig(50, 4))


def test_a_model_does_not_differ_from_itself():
    found = _found(np.random.default_rng(2), 80, worst=40)
    for one in significance.compare(found, found, ResamplingConfig(100)).values():
        assert (one.difference, one.interval, one.p_value) == (0, (0, 0), 1)


def test_a_clearly_better_model_has_a_small_p_and_an_interval_above_zero():
    random = np.random.default_rng(3)
    worse = _found(random, 200, worst=100)
    better = {d: np.maximum(1, rank // 4) for d, rank in worse.items()}
    found = significance.compare(better, worse, ResamplingConfig(999))
    assert tuple(found) == metrics.KEYS
    for direction in metrics.DIRECTIONS:
        for name in ("R@5", "R@10", "R@50", "MRR"):
            one = found[f"{direction}/{name}"]
            assert one.p_value == pytest.approx(1 / 1000)
            assert 0 < one.interval[0] < one.difference < one.interval[1]
        median = found[f"{direction}/MedR"]
        assert median.difference < 0 and median.p_value == pytest.approx(1 / 1000)
    swapped = significance.compare(worse, better, ResamplingConfig(999))
    for key, one in found.items():
        assert swapped[key].difference == -one.difference
        assert (swapped[key].a, swapped[key].b) == (one.b, one.a)


def test_p_of_recall_is_that_of_the_exact_test_on_discordant_queries():
    # Only A finds 9, only B finds 2: of 11 throws of a coin, 9 or more either way.
    a = _both([1] * 9 + [2] * 2 + [1] * 30 + [2] * 9)
    b = _both([2] * 9 + [1] * 2 + [1] * 30 + [2] * 9)
    found = significance.compare(a, b, ResamplingConfig(10_000))
    exact = 2 * (55 + 11 + 1) / 2**11
    assert found["a2v/R@1"].p_value == pytest.approx(exact, abs=0.012)
    assert found["a2v/MRR"].p_value == pytest.approx(exact, abs=0.012)
    assert found["a2v/R@1"].difference == pytest.approx(14)


def test_p_values_of_like_models_are_spread_evenly():
    random = np.random.default_rng(4)
    p_values = []
    for _ in range(120):
        a, b = (_found(random, 60, worst=60) for _ in range(2))
        found = significance.compare(a, b, ResamplingConfig(99))
        p_values.append(found["a2v/MRR"].p_value)
    p_values = np.array(p_values)
    for level in (0.1, 0.25, 0.5, 0.75):
        # Three standard deviations of a share of 120.
        slack = 3 * np.sqrt(level * (1 - level) / 120)
        assert np.mean(p_values <= level) == pytest.approx(level, abs=slack)


def test_unequal_numbers_of_ranks_are_an_error():
    with pytest.raises(ValueError, match="3 ranks of a, 2 of b"):
        significance.compare(_both([1, 2, 3]), _both([1, 2]), ResamplingConfig(9))


def test_fewer_queries_than_ranks_is_an_error():
    with pytest.raises(ValueError, match="3 ranks for n = 2"):
        significance.confidence_intervals(_both([1, 2, 3]), ResamplingConfig(9), 2)
