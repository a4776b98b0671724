"""Splits by a hash of the id: whoever comes or goes, the others stay."""

import collections
import random

import pytest

from data_prep import splits

SHARES = {"train": 0.8, "val": 0.1, "eval": 0.1}


def _deal(groups, seed=0, shares=SHARES, **others):
    """Id -> split, and the notes."""
    notes = []
    dealt = splits.deal(groups, shares, seed, notes=notes, **others)
    assert set(dealt) == set(shares) and len(dealt) == len(groups)
    of = {name: s for group, s in zip(groups, dealt, strict=True) for name in group}
    return of, notes


def _ids(notes, kind):
    return {note.id for note in notes if note.kind == kind}


@pytest.mark.parametrize("kept", [False, True])
def test_recordings_that_come_or_go_move_no_others(kept):
    draw = random.Random(7)
    n_clean = 0
    for seed in range(300):
        names = [f"{draw.random()}.mp4" for _ in range(draw.randint(5, 40))]
        groups, rest = [], names[5:]
        while rest:
            size = draw.choice((1, 1, 1, 2, 3))
            groups, rest = [*groups, rest[:size]], rest[size:]
        groups += [[name] for name in names[:5]]
        # Two more, or two fewer, in another order.
        first, second = groups[2:], groups
        if seed % 2:
            first, second = second, first
        second = draw.sample(second, len(second))
        before, told = _deal(first, seed)
        after, notes = _deal(second, seed, kept=before if kept else None)
        moved = {
            name for name in before if after.get(name, before[name]) != before[name]
        }
        filled = _ids(told, "filled") | _ids(notes, "filled")
        # But for what had to fill a split, or has to now.
        assert moved <= (_ids(notes, "moved") if kept else filled)
        if kept and not seed % 2:
            assert not moved
        n_clean += not filled
    assert 50 < n_clean < 300  # both cases are looked at


def test_sizes_are_near_their_shares():
    names = [[f"video {i}"] for i in range(2000)]
    of, notes = _deal(names)
    counts = collections.Counter(of.values())
    # Four standard deviations of a binomial distribution.
    assert counts["train"] == pytest.approx(1600, abs=72)
    assert counts["val"] == pytest.approx(200, abs=54)
    assert counts["eval"] == pytest.approx(200, abs=54)
    assert not notes
    # The order in which splits are named says nothing.
    other, _ = _deal(names, shares=dict(reversed(SHARES.items())))
    assert other == of
    assert _deal(names, seed=1)[0] != of


def test_a_split_that_chance_left_small_is_told():
    n_told = 0
    for seed in range(40):
        of, notes = _deal([[f"{i}"] for i in range(24)], seed)
        counts = collections.Counter(of.values())
        small = {split for split in SHARES if counts[split] < 12 * SHARES[split]}
        assert _ids(notes, "small split") == small
        n_told += len(small)
    assert n_told
    assert any("1 of 24 recordings, less than half" in note.detail for note in notes)


def test_a_copy_with_a_longer_name_goes_where_the_original_is():
    names = [f"{i}.mp4" for i in range(100)]
    alone, _ = _deal([[name] for name in names])
    groups = [[f"0 copy of {name}", name, f"{name} (1)"] for name in names]
    copied, _ = _deal(groups)
    assert {name: copied[name] for name in names} == alone


def test_what_is_kept_stays_whatever_seed_and_shares():
    names = [[f"{i}.mp4"] for i in range(40)]
    before, _ = _deal(names, seed=0)
    after, notes = _deal(names, seed=5, kept=before)
    anew, _ = _deal(names, seed=5)
    assert after == before
    differ = {name for name in before if anew[name] != before[name]}
    assert _ids(notes, "kept split") == differ != set()
    assert "--nokeep_splits" in notes[0].detail
    half = {"train": 0.5, "val": 0.25, "eval": 0.25}
    assert _deal(names, shares=half, kept=before)[0] == before


def test_other_names_of_splits_are_dealt_and_told():
    names = [[f"{i}.mp4"] for i in range(40)]
    old = {name: "all" for (name,) in names}
    of, notes = _deal(names, kept=old)
    assert of == _deal(names)[0]
    assert _ids(notes, "moved") == set(old)
    into_eval = next(n for n in notes if of[n.id] == "eval")
    assert into_eval.detail == (
        "from all to eval, as all is none of the splits now: what was trained before "
        "has seen it"
    )


def test_copies_that_join_two_splits_go_to_train():
    kept = {"a": "train", "b": "eval", "c": "eval", "d": "val", "e": "val"}
    of, notes = _deal([["new", "a", "b"], ["c"], ["d"], ["e"]], kept=kept)
    assert of == {**kept, "b": "train", "new": "train"}
    assert [(n.id, n.detail) for n in notes if n.kind == "moved"] == [
        ("b", "from eval to train, where copies of it are")
    ]


@pytest.mark.parametrize("train, rest", [("training", "test"), ("train_sw", "dev")])
def test_a_training_split_may_have_a_longer_name(train, rest):
    shares = {rest: 0.2, train: 0.8}
    groups = [["new", "a", "b"], *([f"{i}.mp4"] for i in range(20))]
    of, notes = _deal(groups, shares=shares, kept={"a": train, "b": rest})
    assert of["a"] == of["b"] == of["new"] == train
    names = {name: train for (name,) in groups[1:]}
    _, notes = _deal(groups[1:], shares=shares, kept=names)
    (told,) = _ids(notes, "moved")
    assert next(n for n in notes if n.id == told).detail.endswith("has seen it")


def test_an_empty_split_takes_what_is_new_before_what_was_trained_on():
    kept = {str(i): "train" for i in range(20)}
    for seed in range(30):
        groups = [[name] for name in kept]
        halves = {"train": 0.5, "eval": 0.5}
        of, notes = _deal(groups, seed, halves, kept=kept)
        (told,) = (note for note in notes if note.kind == "moved")
        assert of == {**kept, told.id: "eval"}
        assert told.detail == (
            "from train to eval, as eval would be empty: what was trained before has "
            "seen it"
        )
        of, notes = _deal([*groups, ["new"]], seed, halves, kept=kept)
        assert of == {**kept, "new": "eval"} and not _ids(notes, "moved")


def test_an_empty_split_takes_what_was_trained_on_last():
    kept = {str(i): "train" if i < 12 else "eval" for i in range(20)}
    for seed in range(30):
        groups = [[name] for name in kept]
        of, notes = _deal(groups, seed, kept=kept)
        (told,) = (note for note in notes if note.kind == "moved")
        assert told.detail == "from eval to val, as val would be empty"
        assert of == {**kept, told.id: "val"}
        of, notes = _deal([*groups, ["new"]], seed, kept=kept)
        assert of == {**kept, "new": "val"} and not _ids(notes, "moved")


def test_the_order_of_recordings_says_nothing():
    n_filled = 0
    for seed in range(60):
        names = [[f"{i}"] for i in range(8)]
        of, notes = _deal(names, seed)
        n_filled += len(_ids(notes, "filled"))
        assert _deal(names[::-1], seed)[0] == of
    assert n_filled


def test_files_that_cannot_be_used_fill_no_split():
    for seed in range(100):
        names = [f"{i}" for i in range(12)]
        dead = names[:6]
        of, _ = _deal([[name] for name in names], seed, unusable=dead)
        assert {of[name] for name in names[6:]} == set(SHARES)
        # They are where they belong once they are mended, unless it was full.
        mended, notes = _deal([[name] for name in names], seed)
        filled = _ids(notes, "filled")
        assert all(of[n] == mended[n] for n in dead if n not in filled)
    # With nothing else there is, they do.
    of, _ = _deal([[name] for name in names], unusable=names)
    assert set(of.values()) == set(SHARES)
