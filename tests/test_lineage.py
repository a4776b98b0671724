"""The table of stages that start from each other."""

import types

import numpy as np
import pytest

from avl_tf import metrics
from avl_tf.evaluation import lineage, tables
from avl_tf.evaluation.rankings import RankedSet

ONE, TWO = ("audio", "visual"), ("audio:hi", "audio:en", "visual")


def _result(branches):
    """What training returns of a model with these branches, on a set of four clips."""
    ranks = {
        metrics.direction(pair): np.array([1, 2, 3, 4])
        for pair in metrics.pairs(branches)
    }
    entry = {"sets": {"x": metrics.summary(ranks)}}
    return {"history": [entry, entry], "stands": 1}


def _sets():
    spec = types.SimpleNamespace(languages=("hi",), synthetic=False)
    return {"x": types.SimpleNamespace(n_clips=4, spec=spec)}


def test_models_of_other_branches_stand_in_one_table():
    rows = lineage.stage_rows("one", None, _result(ONE), ["x"])
    rows += lineage.stage_rows("two", None, _result(TWO), ["x"])
    rows = lineage.random_rows(_sets(), rows) + rows
    lines = {"one": (("one", ("en",)),), "two": (("two", ("hi", "en")),)}
    text = lineage.table(rows, lines, _sets())
    header, _, *cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()
    ]
    # A set's six directions and two more: each has a line of its own.
    table = {(row[1], row[3]): dict(zip(header, row, strict=True)) for row in cells}
    queries = {"zero-shot": 2, "target only": 6, "random": 8}
    assert {s: sum(k[0] == s for k in table) for s in queries} == queries
    assert {row["R@1"] for row in table.values()} == {"25.0"}
    assert table["zero-shot", "A->V"]["MedR"] == "2.5"


def test_chance_is_of_the_clips_that_are_there_over_all_queries():
    ranks = {"a2v": np.arange(1, 5), "v2a": np.arange(1, 5)}
    clips = tuple(f"clip {number}" for number in ranks["a2v"])
    values = RankedSet(clips, ranks, n_queries=50, clip_s=2.0).metrics()
    entry = {"epoch": 0, "sets": {"x": values}}
    result = {"history": [entry], "stands": 0}
    of_stages = lineage.stage_rows("one", None, result, ["x"])
    rows = [*lineage.random_rows(_sets(), of_stages), *tables.history_rows([entry])[:1]]
    for row in rows:
        # Each of four clips is among the first ten, and the median rank is theirs.
        assert row["n"] == 50
        assert row["a2v/R@10"] == values["a2v/R@10"] == 8.0
        assert row["v2a/MedR"] == values["v2a/MedR"] == 2.5


@pytest.mark.parametrize(
    ("spoken", "expected"),
    [
        ([], "random"),
        ([("en",)], "zero-shot"),
        ([("hi",)], "target only"),
        ([("en",), ("hi",)], "cascade"),
        ([("hi",), ("en",)], "earlier stage"),
    ],
)
def test_a_line_is_told_by_what_it_has_heard(spoken, expected):
    line = tuple((str(number), one) for number, one in enumerate(spoken))
    assert lineage.setting(line, ["hi"]) == expected
