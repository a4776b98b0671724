import json

import numpy as np
import pytest

from avl_tf import metrics
from avl_tf.evaluation.significance import recall_interval
from avl_tf.exhibits import page
from avl_tf.reporting import charts
from avl_tf.training import history


def _history(n):
    return [
        {"step": epoch, "epoch": epoch, "sets": {"sw": metrics.summary(ranks)}}
        for epoch in (0, 1, 2)
        for ranks in [{d: np.full(n, 3 - epoch) for d in metrics.DIRECTIONS}]
    ]


def test_interval_of_a_recall():
    # Of no hit the upper end is z^2 / (n + z^2); of 8 in 10, worked out by hand.
    z2 = 1.959964**2
    none = recall_interval(0.0, 10)
    assert none == pytest.approx([0, 100 * z2 / (10 + z2)], rel=1e-5)
    low, high = recall_interval(np.array([80.0, 100.0]), 10)
    assert low[0] == pytest.approx(49.02, abs=0.01)
    assert high[0] == pytest.approx(94.33, abs=0.01)
    assert high[1] == pytest.approx(100)


def test_pictures_are_drawn_for_a_light_page_and_a_dark_one():
    measured = [charts.Measured("loss", [0.5, 1.0], [2.0, 1.0])]
    pair = charts.run_curves(_history(20), 2, measured)
    assert pair.light.startswith(b"\x89PNG") and pair.dark.startswith(b"\x89PNG")
    assert pair.light != pair.dark
    again = charts.run_curves(_history(20), 2, measured)
    assert again == pair


def test_nothing_in_a_name_is_markup():
    hostile = "<script>alert(1)</script>"
    table = page.Table(["set"], [[(hostile, hostile)]], 1, [False])
    parts = [
        page.Heading(hostile),
        page.Paragraph(hostile),
        page.Folded(hostile, hostile),
        page.Picture("x", page.Pair(b"l", b"d"), f'"{hostile}'),
        table,
    ]
    text = page.html(hostile, parts)
    assert "<script" not in text and 'alt=""' not in text


def test_what_is_no_history_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no evaluation yet"):
        history.read_finished(str(tmp_path))
    for wrong in ({}, [], {"history": [], "stands": 0}, {"history": [{}], "stands": 0}):
        (tmp_path / "recall.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match="not the history"):
            history.read_finished(str(tmp_path))
