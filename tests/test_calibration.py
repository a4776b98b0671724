"""What a score means: the stated error rate holds, and precision is the share."""

import dataclasses
import json

import numpy as np
import pytest

from avl_tf.retrieval.calibration import Asked, Calibration, Scale, fit, isotonic


def _asked(random, n, fitting=0.0):
    """Queries of unlike norms, whose scores grow with them."""
    made = []
    for _ in range(n):
        norm = np.exp(random.normal(0, 0.5))
        sample = random.normal(0, 1, 200)
        others = np.sort(random.normal(0, 1, 30))[::-1][:10]
        own = random.normal(fitting, 1)
        scale = Scale(norm, norm * sample.mean(), norm * sample.std())
        made.append(Asked(norm * others, norm * own, scale))
    return made


def _rates(calibration, asked, error_rate, n_windows=30):
    called = []
    for one in asked:
        scores = [one.others.max(), one.own]
        verdict = calibration.judge(scores, one.scale, n_windows, error_rate)
        called.append(np.array(scores) > verdict.threshold)
    return np.mean(called, axis=0)


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.3])
def test_of_queries_that_fit_nothing_the_stated_share_is_a_match(error_rate):
    random = np.random.default_rng(0)
    # Over calibrations, the choice of the measure included; 19 queries are few.
    for n in (19, 100):
        found = [
            _rates(fit(_asked(random, n, 2.0), 30), _asked(random, 30), error_rate)[0]
            for _ in range(120)
        ]
        assert np.mean(found) < error_rate + 0.015
        assert np.mean(found) > error_rate - 0.06  # and it is no less for fear


def test_the_measure_is_the_one_that_tells_best():
    random = np.random.default_rng(1)
    asked = _asked(random, 300, 3.0)
    calibration = fit(asked, 30)
    assert calibration.kind in ("norm", "sample")
    fitting = _rates(calibration, _asked(random, 300, 3.0), 0.1)[1]
    assert fitting == pytest.approx(calibration.power, abs=0.1)
    null = tuple(sorted((one.others.max() for one in asked), reverse=True))
    raw = dataclasses.replace(calibration, kind="raw", null=null)
    assert fitting > _rates(raw, _asked(random, 300, 3.0), 0.1)[1] + 0.1


def test_an_index_that_has_grown_raises_the_threshold():
    random = np.random.default_rng(2)
    calibration = fit(_asked(random, 200, 2.0), 30)
    scale = Scale(1.0, 0.0, 1.0)
    before, same, after = (
        calibration.judge([0.0], scale, n_windows, 0.1).threshold
        for n_windows in (30, 10, 60)
    )
    assert before == same < after
    # Of twice as many windows the best is higher, and still below.
    twice = [
        dataclasses.replace(
            one,
            others=np.append(one.others, one.scale.norm * random.normal(0, 1, 30)),
        )
        for one in _asked(random, 600)
    ]
    assert _rates(calibration, twice, 0.1, 30)[0] > 0.13
    assert _rates(calibration, twice, 0.1, 60)[0] < 0.115


def test_too_few_queries_call_nothing_a_match():
    asked = _asked(np.random.default_rng(3), 8, 5.0)
    verdict = fit(asked, 30).judge([1e9], asked[0].scale, 30, 0.1)
    assert verdict.threshold == np.inf
    with pytest.raises(ValueError, match="no validation"):
        fit([], 30)


def test_a_query_that_is_unlike_all_others_is_known():
    asked = _asked(np.random.default_rng(7), 100, 2.0)
    calibration = fit(asked, 30)
    assert all(calibration.judge([1], o.scale, 30, 0.1).is_known for o in asked)
    known = _asked(np.random.default_rng(8), 300)
    shares = [calibration.judge([1], o.scale, 30, 0.1).is_known for o in known]
    assert np.mean(shares) > 0.95
    scale = asked[0].scale
    for change in ({"norm": 99.0}, {"mean": -50.0}, {"deviation": 99.0}):
        odd = dataclasses.replace(scale, **change)
        assert not calibration.judge([1e9], odd, 30, 0.1).is_known


def test_precision_is_the_share_of_hits_that_are_right():
    random = np.random.default_rng(4)
    calibration = fit(_asked(random, 1000, 2.5), 30)
    assert list(calibration.precisions) == sorted(calibration.precisions)
    expected, right = [], []
    for one in _asked(random, 1000, 2.5):
        hits = np.sort(np.append(one.others, one.own))[::-1][:10]
        expected += calibration.judge(hits, one.scale, 30, 0.1).precisions
        right += (hits == one.own).tolist()
    expected, right = np.array(expected), np.array(right)
    for low, high in ((0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 1.0)):
        at = (expected >= low) & (expected < high)
        assert np.mean(right[at]) == pytest.approx(expected[at].mean(), abs=0.08)


def test_isotonic_is_the_nearest_growing_function():
    levels, values, sizes = isotonic(
        np.array([1.0, 2, 3, 4, 5, 5]), np.array([0.0, 1, 0, 1, 1, 0])
    )
    assert levels == [1.0, 2.0, 4.0] and sizes == [1, 2, 3]
    np.testing.assert_allclose(values, [0, 0.5, 2 / 3])
    sklearn = pytest.importorskip("sklearn.isotonic")
    random = np.random.default_rng(5)
    x, y = random.normal(size=200), random.integers(0, 2, 200).astype(float)
    levels, values, _ = isotonic(x, y)
    ours = np.array(values)[np.searchsorted(levels, x, "right") - 1]
    theirs = sklearn.IsotonicRegression().fit_transform(x, y)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_it_is_kept_as_json():
    calibration = fit(_asked(np.random.default_rng(6), 20, 2.0), 30)
    value = json.loads(json.dumps(dataclasses.asdict(calibration)))
    assert Calibration.of_json(value) == calibration
