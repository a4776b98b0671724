"""Pairs of clips in two languages: against the written-out form, and by the program."""

import numpy as np
import pytest

from avl_tf import mining
from avl_tf.errors import UserError


def _written_out(first, second, n):
    """Margins of all pairs, clip by clip."""

    def unit(one):
        return one / np.linalg.norm(one)

    cosine = np.array([[unit(a) @ unit(b) for b in second] for a in first])
    rows = [np.mean(sorted(row)[-n:]) for row in cosine]
    columns = [np.mean(sorted(column)[-n:]) for column in cosine.T]
    return np.array(
        [
            [cosine[i, j] / ((rows[i] + columns[j]) / 2) for j in range(len(second))]
            for i in range(len(first))
        ]
    )


@pytest.mark.parametrize(("n", "m", "neighbours"), [(30, 20, 4), (3, 40, 7), (1, 1, 4)])
def test_pairs_are_each_others_best_by_margin(n, m, neighbours):
    random = np.random.default_rng(n)
    # Not around zero, so that every clip has neighbours.
    first, second = random.random((n, 6)), random.random((m, 6))
    margin = _written_out(first, second, neighbours)
    expected = {
        (i, j)
        for i in range(n)
        for j in range(m)
        if margin[i].argmax() == j and margin[:, j].argmax() == i
    }
    index, other, found = mining.mutual_pairs(first, second, neighbours)
    assert set(zip(index.tolist(), other.tolist(), strict=True)) == expected
    assert len(index) == len(expected)
    np.testing.assert_allclose(found, margin[index, other], rtol=1e-9)
    assert (np.diff(found) <= 0).all()


def test_many_clips_are_taken_in_blocks(monkeypatch):
    random = np.random.default_rng(0)
    first = random.random((40, 5))
    second = first[random.permutation(40)] + random.normal(0, 0.02, (40, 5))
    whole = mining.mutual_pairs(first, second)
    monkeypatch.setattr(mining, "_ROWS", 7)
    for ours, theirs in zip(whole, mining.mutual_pairs(first, second), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_clip_that_is_near_to_all_is_not_everybodys_best():
    # The hub lies between all; its cosines are high, its margins are not.
    first = np.eye(4) + 0.1
    second = np.concatenate([np.full((1, 4), 1.0), np.eye(4) + 0.35])
    index, other, _ = mining.mutual_pairs(first, second, 4)
    assert dict(zip(index.tolist(), other.tolist(), strict=True)) == {
        0: 1,
        1: 2,
        2: 3,
        3: 4,
    }


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "needs embeddings"),
        (np.ones((0, 3)), np.ones((2, 3)), "at least one clip"),
        (np.zeros((2, 3)), np.ones((2, 3)), "embedding 0 of 2 has no direction"),
        (np.ones((2, 3)), np.full((1, 3), np.nan), "embedding 0 of 1 has no direction"),
    ],
)
def test_what_has_no_pairs_is_told(first, second, message):
    with pytest.raises(UserError, match=message):
        mining.mutual_pairs(first, second)
