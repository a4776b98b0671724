import dataclasses

import numpy as np
import pytest

from avl_tf.evaluation import rankings
from avl_tf.evaluation.rankings import RankedSet


def _ranked(clip_ids="p q r", **changes):
    clip_ids = tuple(clip_ids.split())
    place = np.arange(len(clip_ids))
    ranks = {"a2v": place + 1, "v2a": 10 * place + 1}
    ranked = RankedSet(clip_ids, ranks, len(clip_ids), 2.0)
    return dataclasses.replace(ranked, **changes)


def test_ranks_are_matched_by_clip_id_and_not_by_place():
    found = rankings.matched(_ranked("r p q"), _ranked("p q r"), "x")
    assert found["a2v"].tolist() == [3, 1, 2]
    assert found["v2a"].tolist() == [21, 1, 11]


def test_a_clip_that_stands_twice_is_matched_by_its_order():
    found = rankings.matched(_ranked("q p p"), _ranked("p q p"), "x")
    assert found["a2v"].tolist() == [2, 1, 3]


@pytest.mark.parametrize(
    ("other", "texts"),
    [
        (_ranked("p q"), ["x: A ranked 3 clips, B 2", "1 (r) only in A", "0 only in"]),
        (_ranked("p q s"), ["1 (r) only in A", "1 (s) only in B", "same records"]),
        (_ranked("u v w"), ["3 (p, ...) only in A", "3 (u, ...) only in B"]),
        (_ranked("p p q r"), ["A ranked 3 clips, B 4", "1 (p) only in B"]),
        (_ranked(n_queries=9), ["x: A", "--evaluation_population=3, B with 9"]),
        (_ranked(clip_s=5.0), ["x: A", "--evaluation_clip_s=2.0, B with 5.0"]),
    ],
)
def test_what_cannot_be_compared_is_an_error(other, texts):
    with pytest.raises(ValueError) as error:
        rankings.matched(_ranked(), other, "x")
    for text in texts:
        assert text in str(error.value)


def test_a_file_of_ranks_reads_back(tmp_path):
    path = str(tmp_path / "ranks.json")
    sets = {"x": _ranked(), "y": _ranked("a b", n_queries=5, clip_s=6.5)}
    rankings.write(path, "runs/a", sets)
    found = rankings.read(path)
    assert list(found) == ["x", "y"]
    for name, ranked in sets.items():
        assert found[name].metrics() == ranked.metrics()
        same = rankings.matched(ranked, found[name], name)
        assert all((same[d] == ranked.ranks[d]).all() for d in same)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"sets": {"x": {"a2v/R@1": 3.0}}}',
        '{"sets": {"x": {"clip_s": 1, "n_queries": 1, "clips": {"clip_id": ["p"], '
        '"a2v": [1, 2], "v2a": [1]}}}}',
    ],
)
def test_another_file_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "recall.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="not the ranks that") as error:
        rankings.read(str(path))
    assert str(path) in str(error.value)
