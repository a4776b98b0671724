import json

import pytest

from avl_tf import metrics
from avl_tf.training.history import History

DIRECTIONS = ("a2v", "v2a")


def _entry(epoch, **values):
    """An evaluation; values by metric, one number or one a direction."""
    of_set = {key: 0.0 for key in metrics.KEYS}
    for name, value in values.items():
        both = value if isinstance(value, tuple) else (value, value)
        name = name.replace("R_", "R@")
        of_set |= {
            f"{d}/{name}": each for d, each in zip(DIRECTIONS, both, strict=True)
        }
    return {"step": 4 * epoch, "epoch": epoch, "sets": {"val": of_set}}


def _history(folder, values, metric="val/R@5", name="R_5"):
    history = History(str(folder), metric, {"val": DIRECTIONS})
    history.entries = [
        _entry(epoch, **{name: value}) for epoch, value in enumerate(values)
    ]
    return history


@pytest.mark.parametrize(
    ("values", "best", "over"),
    [
        ((83, 83, 83), 2, True),  # R@10 of 12: nothing but ties
        ((83, 91, 83, 91), 3, True),
        ((83, 91, 83), 1, False),
        ((10, 20, 20, 30), 3, False),
        ((30, 20, 30), 2, True),  # a tie is none the better to wait for
        ((30, 20), 0, False),
    ],
)
def test_of_equals_the_later_is_the_best_and_none_to_wait_for(
    tmp_path, values, best, over
):
    history = _history(tmp_path, values)
    assert history.best == best == history.to_json()["stands"]
    assert history.is_over(2) == over
    assert not history.is_over(0)
    # A run that was stopped after any of them decides alike.
    history.write()
    for stop in range(len(values)):
        resumed = _history(tmp_path, ())
        resumed.read(4 * stop)
        resumed.entries += history.entries[stop + 1 :]
        assert (resumed.best, resumed.is_over(2)) == (best, over)


def test_sums_that_are_equal_on_paper_are_equal(tmp_path):
    exact, same = (0.1 + 0.2, 0.0), (0.3, 0.0)
    assert sum(exact) > sum(same)
    assert _history(tmp_path, [exact, same]).best == 1


def test_a_run_of_before_goes_on_from_what_it_has_kept(tmp_path):
    # What was kept of equals was the first, and is what lies in best/.
    entries = _history(tmp_path, (50, 20, 50)).entries
    written = {"history": entries, "stands": 0}
    (tmp_path / "recall.json").write_text(json.dumps(written))
    history = _history(tmp_path, ())
    history.read(8)
    assert history.best == 0
    history.entries.append(_entry(3, R_5=40))
    assert history.best == 0
    history.entries.append(_entry(4, R_5=50))
    assert history.best == 4


@pytest.mark.parametrize(
    ("metric", "best"), [("val/MRR", 2), ("val/a2v/MRR", 1), ("val/v2a/MRR", 3)]
)
def test_mrr_chooses_by_one_direction_or_both(tmp_path, metric, best):
    values = [(0.1, 0.1), (0.5, 0.1), (0.45, 0.3), (0.2, 0.4)]
    assert _history(tmp_path, values, metric, "MRR").best == best


def test_of_median_ranks_the_lowest_is_the_best(tmp_path):
    assert _history(tmp_path, (9, 3, 3, 4), "val/a2v/MedR", "MedR").best == 2
