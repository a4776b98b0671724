"""Records of several languages, joined at reading time."""

import dataclasses
import logging

import corpus
import numpy as np
import pytest

from avl_tf import dataset, records
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError

CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=4)
ANNOTATED = ClipConfig("annotated", 3.0)


def _record(language, number, suffix="", **changes):
    """What is said of an image in a language: seen alike in each, heard not."""
    seen = corpus.make_record(f"i{number}", n_seconds=8 + number % 3)
    heard = corpus.make_record(f"{language}{number}{suffix}", len(seen.features_2d))
    changes = {
        "id": f"{language}/{number}{suffix}",
        "recording_id": f"i{number}",
        "language": language,
        "features_2d": seen.features_2d,
        "clips": seen.clips,
        **changes,
    }
    return dataclasses.replace(heard, **changes)


def _write(folder, language, numbers, **spec):
    made = [
        one if isinstance(one, records.Record) else _record(language, one)
        for one in numbers
    ]
    spec = {"languages": (language,), **spec}
    return corpus.write_records(f"{folder}/{language}", made, **spec)


def _open(folder, clips=CLIPS, **numbers):
    paths = {name: _write(folder, name, which) for name, which in numbers.items()}
    text = ",".join(f"{name}={path}" for name, path in paths.items())
    return dataset.open_training_records(text, clips)


def _take(n, *arguments, **keywords):
    batches = dataset.train_batches(*arguments, **keywords).take(n)
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches]


def _ids(batches):
    return [clip_id.decode() for batch in batches for clip_id in batch["clip_id"]]


def _window(record, start, length=200):
    frame = max(0, int(100 * start) - 2)
    return record.log_mel[frame : frame + length]


def _heard(batch, at, language, made):
    """Which of some records a clip of a batch was cut from."""
    start = float(batch["clip_id"][at].decode().split("@")[1].split("-")[0])
    n = batch[f"n_frames:{language}"][at]
    found = [
        one
        for one in made
        if np.array_equal(batch[f"log_mel:{language}"][at][:n], _window(one, start, n))
    ]
    (only,) = found
    return only.id


def test_a_tuple_is_the_same_windows_of_each_languages_record(tmp_path):
    """As long as the shortest: of i1, 9 s in Spanish, Romanian has 6 s only."""
    short = corpus.make_record("short", 6)
    made = {
        "es": [_record("es", n) for n in range(4)],
        "ro": [
            _record("ro", n) if n != 1 else _record("ro", 1, log_mel=short.log_mel)
            for n in range(4)
        ],
    }
    clips = dataclasses.replace(CLIPS, clips_per_recording=32)
    joined = _open(tmp_path, clips, **made)
    (batch,) = _take(1, joined, clips, 128, 0)
    assert batch.keys() == {
        *("log_mel:es", "n_frames:es", "log_mel:ro", "n_frames:ro"),
        *("visual", "clip_id", "group"),
    }
    starts = {}
    for at, clip_id in enumerate(_ids([batch])):
        name, window = clip_id.split("@")
        number = int(name.removeprefix("es/"))
        start = float(window.split("-")[0])
        starts.setdefault(number, set()).add(start)
        for language, own in made.items():
            expected = _window(own[number], start)
            assert np.array_equal(batch[f"log_mel:{language}"][at], expected)
        feature = made["es"][number].features_2d[int(start) : int(start) + 3].max(0)
        feature = feature.astype("f") / np.linalg.norm(feature.astype("f"))
        assert np.abs(batch["visual"][at] - feature).max() < 1e-3
    assert starts[0] == {0, 1, 2, 3, 4} and starts[1] == {0, 1, 2}


def test_a_joined_set_is_read_as_a_set(tmp_path):
    joined = _open(tmp_path, es=range(6), ro=range(6))
    assert (joined.n_records, joined.n_clips) == (6, 26)
    assert joined.spec.languages == ("es", "ro") and list(joined.sets) == ["es", "ro"]
    assert dataset.steps_per_epoch(joined, CLIPS, 8) == 3
    ids = _ids(_take(3, joined, CLIPS, 8, 0))
    assert sorted(clip.split("@")[0] for clip in ids) == sorted(
        [f"es/{n}" for n in range(6)] * 4
    )


@pytest.mark.parametrize("shuffle_clips", [0, 16])
@pytest.mark.parametrize("worker", [(0, 1), (1, 2)])
def test_a_later_first_step_yields_the_tail_bit_for_bit(
    tmp_path, shuffle_clips, worker
):
    clips = dataclasses.replace(CLIPS, shuffle_clips=shuffle_clips)
    joined = _open(tmp_path, clips, es=range(7), ro=range(7))
    whole = _take(9, joined, clips, 4, 3, worker=worker)
    for first_step in (1, 4, 8):
        tail = _take(9 - first_step, joined, clips, 4, 3, first_step, worker)
        for a, b in zip(tail, whole[first_step:], strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in a)
    assert _ids(whole) != _ids(_take(9, joined, clips, 4, 4, worker=worker))


def test_workers_read_other_tuples(tmp_path):
    joined = _open(tmp_path, es=range(6), ro=range(6))
    shares = [
        {clip.split("@")[0] for clip in _ids(_take(3, joined, CLIPS, 4, 0, worker=w))}
        for w in ((0, 2), (1, 2))
    ]
    assert not shares[0] & shares[1] and len(shares[0] | shares[1]) == 6
    with pytest.raises(UserError, match="6 tuples cannot be dealt to 7 workers"):
        dataset.train_batches(joined, CLIPS, 1, 0, worker=(0, 7))


def test_more_captions_of_one_image_go_round(tmp_path):
    """Three in Spanish, two in Romanian: three tuples, one Romanian twice."""
    es = [_record("es", 0, suffix) for suffix in "abc"] + [_record("es", 1)]
    ro = [_record("ro", 0, suffix) for suffix in "xy"] + [_record("ro", 1)]
    joined = _open(tmp_path, es=es, ro=ro)
    (batch,) = _take(1, joined, CLIPS, 16, 0)
    pairs = [
        (clip.split("@")[0], _heard(batch, at, "ro", ro))
        for at, clip in enumerate(_ids([batch]))
    ]
    assert len(set(pairs)) == 4 and pairs.count(("es/1", "ro/1")) == 4
    assert {one for one, _ in pairs} == {one.id for one in es}
    assert {one for _, one in pairs} == {one.id for one in ro}
    groups = {}
    for (es_id, _), group in zip(pairs, batch["group"], strict=True):
        groups.setdefault(es_id[:4], set()).add(group)
    assert [len(each) for each in groups.values()] == [1, 1]
    assert len(set.union(*groups.values())) == 2


def test_what_is_not_joined_is_counted_and_named(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    joined = _open(tmp_path, es=range(9), ro=[0, 1, 20])
    assert dict(joined.n_unjoined) == {"es": 7, "ro": 1}
    told = [record.getMessage() for record in caplog.records]
    (es,) = (line for line in told if "/es/" in line)
    assert "7 of 9 records are not joined" in es and "es/2" in es and ", ..." in es
    (ro,) = (line for line in told if "/ro/" in line)
    assert "1 of 3 records are not joined" in ro and ro.endswith(": ro/20")


def test_nothing_joined_names_both_sets_and_keys(tmp_path):
    with pytest.raises(UserError, match="--join_by") as error:
        _open(tmp_path, es=range(3), ro=range(5, 9))
    text = str(error.value)
    assert "no recording in common" in text and "'i0', 'i2', 'i1'" in text
    assert f"{tmp_path}/es/train" in text and f"{tmp_path}/ro/train" in text
