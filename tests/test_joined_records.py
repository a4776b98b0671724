"""Records of several languages, joined at reading time."""

import dataclasses
import logging
import pathlib

import corpus
import made_media
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import comma_lists, dataset, evaluation, overlap, records
from avl_tf.dataset import ClipConfig, training_records
from avl_tf.errors import UserError
from avl_tf.records import Clip, FeatureSpec, record_index
from avl_tf.training import admission

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


def test_records_join_by_a_label(tmp_path):
    es = [_record("es", n, labels={"scene": f"s{n}"}) for n in range(3)]
    ro = [
        _record("ro", n, recording_id=f"other{n}", labels={"scene": f"s{n}"})
        for n in (2, 0)
    ]
    ro.append(_record("ro", 1, labels={}))
    clips = dataclasses.replace(CLIPS, join_by="scene")
    joined = _open(tmp_path, clips, es=es, ro=ro)
    assert sorted(joined.keys) == ["s0", "s2"]
    (batch,) = _take(1, joined, clips, 8, 0)
    for at, clip in enumerate(_ids([batch])):
        assert _heard(batch, at, "ro", ro)[-1] == clip.split("@")[0][-1]


@pytest.mark.parametrize("value", [7, [1, 2], {"a": 1}, 0, False])
def test_a_label_of_any_json_joins(tmp_path, value):
    made = {
        name: [_record(name, 0, labels={"k": value}), _record(name, 1, labels={})]
        for name in ("es", "ro")
    }
    joined = _open(tmp_path, dataclasses.replace(CLIPS, join_by="k"), **made)
    assert joined.n_records == 1 and joined.keys[0]


def test_no_label_is_an_error_that_names_the_language(tmp_path):
    made = {"es": [_record("es", 0, labels={"scene": "s"})], "ro": [0]}
    with pytest.raises(UserError, match="no record of ro=.* has a label 'scene'"):
        _open(tmp_path, dataclasses.replace(CLIPS, join_by="scene"), **made)


def _jpeg(seed):
    return tf.io.encode_jpeg(made_media.noise(seed)).numpy()


def test_records_join_by_the_same_image(tmp_path):
    clips = dataclasses.replace(CLIPS, join_by="image")
    made = {
        name: [
            _record(name, n, recording_id=f"{name}{n}", image=_jpeg(n)) for n in order
        ]
        for name, order in {"es": (0, 1, 2), "ro": (2, 3, 0)}.items()
    }
    paths = {
        name: _write(tmp_path, name, own, images=True) for name, own in made.items()
    }
    text = ",".join(f"{name}={path}" for name, path in paths.items())
    joined = dataset.open_training_records(text, clips)
    assert joined.n_records == 2
    (batch,) = _take(1, joined, clips, 8, 0)
    assert batch["image"].shape == (8, 224, 224, 3)
    pairs = {
        (clip.split("@")[0][-1], _heard(batch, at, "ro", made["ro"])[-1])
        for at, clip in enumerate(_ids([batch]))
    }
    assert pairs == {("0", "0"), ("2", "2")}


def test_images_that_were_not_kept_join_by_the_label_image(tmp_path):
    clips = dataclasses.replace(CLIPS, join_by="image")
    made = {
        name: [_record(name, 0, recording_id=name, labels={"image": "a.jpg"})]
        for name in ("es", "ro")
    }
    assert _open(tmp_path, clips, **made).keys == ("a.jpg",)
    with pytest.raises(UserError, match="no .* label 'image', .* --keep_images"):
        _open(tmp_path, clips, es=[0], ro=[0])


def test_similar_draws_from_the_nearest_images_each_epoch(tmp_path):
    """Disjoint sets: every record with its own image, and others' nearest captions."""
    clips = dataclasses.replace(CLIPS, join_by="similar", similar_images=3)
    es = [_record("es", n) for n in range(4)]
    ro = [_record("ro", n) for n in range(50, 70)]
    joined = _open(tmp_path, clips, es=es, ro=ro)
    assert joined.n_records == 24 and joined.places["ro"].shape == (24, 3, 2)
    assert joined.seen.tolist() == [0] * 4 + [1] * 20
    steps = dataset.steps_per_epoch(joined, clips, 4)
    epochs = 12
    drawn = {one.id: [] for one in (*es, *ro)}
    for batch in _take(epochs * steps, joined, clips, 4, 1):
        (name,) = {clip.split("@")[0] for clip in _ids([batch])}
        heard = {
            language: {_heard(batch, at, language, made) for at in range(4)}
            for language, made in (("es", es), ("ro", ro))
        }
        own, other = name[:2], {"es": "ro", "ro": "es"}[name[:2]]
        assert heard[own] == {name}
        drawn[name] += heard[other]
        # What is seen is the record's own, at the clip's own time.
        record = next(one for one in (*es, *ro) if one.id == name)
        for at, clip in enumerate(_ids([batch])):
            start = int(float(clip.split("@")[1].split("-")[0]))
            shown = record.features_2d[start : start + 3].astype("f").max(axis=0)
            expected = shown / np.linalg.norm(shown)
            np.testing.assert_allclose(batch["visual"][at], expected, rtol=1e-3)

    def seen(record):
        vector = record.features_2d.astype("f").max(axis=0)
        return vector / np.linalg.norm(vector)

    for ours, theirs in ((es, ro), (ro, es)):
        for one in ours:
            cosine = [seen(one) @ seen(other) for other in theirs]
            nearest = {theirs[i].id for i in np.argsort(cosine)[-3:]}
            assert len(drawn[one.id]) == epochs and set(drawn[one.id]) <= nearest
            assert len(set(drawn[one.id])) > 1
    again = _take(epochs * steps, joined, clips, 4, 1, 5 * steps)
    assert _ids(again[:2]) == _ids(
        _take(7 * steps, joined, clips, 4, 1)[5 * steps : 5 * steps + 2]
    )


def test_similar_of_aligned_sets_has_the_image_itself_first(tmp_path):
    clips = dataclasses.replace(CLIPS, join_by="similar", similar_images=1)
    es, ro = ([_record(language, n) for n in range(6)] for language in ("es", "ro"))
    joined = _open(tmp_path, clips, es=es, ro=ro)
    assert joined.n_records == 12
    for at, clip in enumerate(_ids(batches := _take(12, joined, clips, 4, 0))):
        batch, at = batches[at // 4], at % 4
        for language, made in (("es", es), ("ro", ro)):
            heard = _heard(batch, at, language, made)
            assert heard[-1] == clip.split("@")[0][-1]


def test_sets_that_are_called_by_each_others_language_are_told(tmp_path, caplog):
    es, ro = (_write(tmp_path, name, range(3)) for name in ("es", "ro"))
    dataset.open_training_records(f"es={es},ro={ro}", CLIPS)
    assert "meant?" not in caplog.text
    dataset.open_training_records(f"es={ro},ro={es}", CLIPS)
    assert "its records are in ro. Is ro= meant?" in caplog.text


def test_similar_without_features_says_what_to_do(tmp_path):
    clips = dataclasses.replace(CLIPS, join_by="similar")
    paths = [
        _write(
            tmp_path,
            name,
            [_record(name, 0, features_2d=None, image=_jpeg(0))],
            features_2d=None,
            images=True,
        )
        for name in ("es", "ro")
    ]
    with pytest.raises(UserError, match="no frozen features.* --backbone_2d"):
        dataset.open_training_records(f"es={paths[0]},ro={paths[1]}", clips)


def test_annotated_clips_join_one_to_one(tmp_path):
    """Each at its own time; a record of another number of clips is not joined."""
    moved = tuple(Clip(c.start_s + 0.25, c.end_s) for c in _record("es", 0).clips)
    ro = [_record("ro", 0, clips=moved), _record("ro", 1, clips=moved[:2])]
    es = [_record("es", 0), _record("es", 1)]
    joined = _open(tmp_path, ANNOTATED, es=es, ro=ro)
    assert joined.keys == ("i0",) and dict(joined.n_unjoined) == {"es": 1, "ro": 1}
    assert ANNOTATED.n_clips(joined) == len(moved) == 4
    (batch,) = _take(1, joined, ANNOTATED, 4, 0)
    assert (batch["n_frames:es"] == 201).all() and (batch["n_frames:ro"] == 176).all()
    for at, clip in enumerate(moved):
        frame = int(100 * clip.start_s - 1.25)
        expected = ro[0].log_mel[frame : frame + 176]
        assert np.array_equal(batch["log_mel:ro"][at][:176], expected)
    with pytest.raises(UserError, match="clip by clip.*--clip_sampling=whole"):
        _open(tmp_path, ANNOTATED, es=es[1:], ro=ro[1:])


def test_whole_captions_have_each_its_own_length(tmp_path):
    clips = ClipConfig("whole", 20.0)
    ro = [_record("ro", 0, log_mel=corpus.make_record("x", 5).log_mel, end_s=5.0)]
    (batch,) = _take(1, _open(tmp_path, clips, es=[0], ro=ro), clips, 1, 0)
    assert batch["n_frames:es"] == 801 and batch["n_frames:ro"] == 501


def test_evaluation_has_one_tuple_a_key_in_order(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    es = [_record("es", n, suffix) for n in range(3) for suffix in "ab"]
    ro = [_record("ro", n) for n in (2, 1, 0)]
    paths = [_write(tmp_path, "es", es, n_shards=1), _write(tmp_path, "ro", ro)]
    sets = evaluation.parse_sets([f"v=es={paths[0]}+ro={paths[1]}", f"o=ro={paths[1]}"])
    assert sets["o"].language == "ro" and sets["o"].n_records == 3
    joined = sets["v"]
    assert joined.keys == ("i0", "i1", "i2") and joined.n_unjoined["es"] == 3
    assert any("3 of 6 records" in r.getMessage() for r in caplog.records)
    batches = list(dataset.evaluation_batches(joined, 3.0, 5))
    ids = [clip.decode() for batch in batches for clip in batch["clip_id"].numpy()]
    assert ids[:2] == ["es/0a@0.00-2.00", "es/0a@2.00-4.00"]
    order = list(dict.fromkeys(clip.split("@")[0] for clip in ids))
    assert order == ["es/0a", "es/1a", "es/2a"] and len(ids) == joined.n_clips
    assert all(batch["log_mel:ro"].dtype == tf.float32 for batch in batches)
    groups = np.concatenate([batch["group"] for batch in batches])
    assert len(set(groups)) == 3 and len(set(groups[:4])) == 1
    (again,) = dataset.evaluation_batches(joined, 3.0, 64)
    assert np.array_equal(again["clip_id"].numpy().astype(str), ids)


def test_groups_of_a_plain_set_are_of_its_recordings_if_asked_for(tmp_path):
    joined = _open(tmp_path, es=range(3), ro=range(3))
    (batch,) = _take(1, joined, CLIPS, 12, 0)
    (plain,) = _take(1, joined.sets["es"], CLIPS, 12, 0, with_groups=True)
    expected, found = (
        dict(zip((i[:4] for i in _ids([each])), each["group"], strict=True))
        for each in (batch, plain)
    )
    assert found == expected and len(set(found.values())) == 3
    (without,) = _take(1, joined.sets["es"], CLIPS, 12, 0)
    assert "group" not in without and _ids([without]) == _ids([plain])


def test_a_part_of_a_language_is_the_part_of_it_alone(tmp_path):
    clips = dataclasses.replace(CLIPS, language_fraction=("ro=0.3",), fraction_seed=5)
    joined = _open(tmp_path, clips, es=range(20), ro=range(20))
    path = joined.sets["ro"].folder + "/train"
    alone = dataclasses.replace(CLIPS, fraction=0.3, fraction_seed=5)
    plain = training_records.open_training_records(path, alone)
    chosen = {one.recording_id for one in record_index.list_read(plain)}
    assert set(joined.keys) == chosen and len(chosen) == 6
    named = dataset.open_training_records(f"ro={path}", clips)
    assert named.spans == plain.spans and named.language == "ro"
    larger = dataclasses.replace(clips, language_fraction=("ro=0.6",))
    assert chosen < set(_open(tmp_path, larger, es=range(20), ro=range(20)).keys)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (("en=0.1",), "no language of --records, which has es, ro"),
        (("ro=0",), "expected a number"),
        (("ro=1.01",), "expected a number"),
        (("ro=nan",), "expected a number"),
        (("ro=half",), "expected a number"),
        (("ro=0.1", "ro=0.2"), "each name once"),
        (("ro",), "NAME=FRACTION"),
    ],
)
def test_a_wrong_part_of_a_language_is_told_in_one_line(given, fault):
    clips = ClipConfig(language_fraction=given)
    with pytest.raises(UserError, match=fault) as error:
        clips.fraction_of(["es", "ro"])
    assert "\n" not in str(error.value)


def test_sets_of_other_settings_do_not_join(tmp_path):
    audio = corpus.AudioConfig(fmin_hz=50.0)
    other = FeatureSpec("other", 12, 1.0)
    for spec, fault in (
        ({"audio": audio}, "audio fmin_hz is 20.0 and 50.0"),
        ({"features_2d": other}, "features_2d backbone is drawn and other"),
        ({"log_mel_reference": "clip"}, "log_mel_reference is recording and clip"),
    ):
        es, ro = _write(tmp_path, "es", [0]), _write(tmp_path, "ro", [0], **spec)
        with pytest.raises(UserError, match=fault) as error:
            dataset.open_training_records(f"es={es},ro={ro}", CLIPS)
        assert es in str(error.value) and ro in str(error.value)
    ro = _write(tmp_path, "ro", [0], storage="int8")
    joined = dataset.open_training_records(f"es={es},ro={ro}", CLIPS)
    (batch,) = _take(1, joined, CLIPS, 4, 0)
    assert batch["log_mel:ro"].dtype == batch["log_mel:es"].dtype == np.float16


def test_a_damaged_record_of_any_language_is_named_or_skipped(tmp_path, caplog):
    es, ro = _write(tmp_path, "es", range(6)), _write(tmp_path, "ro", range(6))
    text = f"es={es},ro={ro}"
    joined = dataset.open_training_records(text, CLIPS)
    entry = list(record_index.list_records(joined.sets["ro"]))[1]
    shard = pathlib.Path(joined.sets["ro"].path(entry.shard))
    content = bytearray(shard.read_bytes())
    content[entry.offset + entry.n_bytes - 50] ^= 1
    shard.write_bytes(content)
    batches = dataset.train_batches(joined, CLIPS, 4, 0).take(6)
    with pytest.raises(UserError, match=f"{shard}: damaged: record 1 .{entry.id}"):
        list(dataset.read(batches, joined))
    with pytest.raises(UserError, match=f"{shard}: damaged: record 1 .{entry.id}"):
        similar = dataclasses.replace(CLIPS, join_by="similar")
        dataset.open_training_records(text, similar)
    skip = dataclasses.replace(CLIPS, on_corrupt="skip")
    rest = dataset.open_training_records(text, skip)
    assert rest.n_records == 5 and entry.recording_id not in rest.keys
    assert len(_ids(dataset.read(_take(5, rest, skip, 4, 0), rest))) == 20
    assert rest.fingerprint != joined.fingerprint


def test_a_path_that_is_there_is_a_path_whatever_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write("a=b", "c=d", [0])
    for path in ("a=b/c=d/train", "a=b/c=d"):
        assert comma_lists.parse_records(path) == {"": path}
        sets = comma_lists.parse_evaluate([f"v={path}", f"w=es={path}+ro=x+y/z"])
        assert sets == {"v": {"": path}, "w": {"es": path, "ro": "x+y/z"}}
        named = comma_lists.parse_records(f"es={path}, ro=s3://b/x=y")
        assert named == {"es": path, "ro": "s3://b/x=y"}
    for plain in ("", "a\nb/c", 'a"b', "x/es=y"):
        assert comma_lists.parse_records(plain) == {"": plain}
    assert comma_lists.parse_records("es=x") == {"es": "x"}
    assert comma_lists.parse_records("data/x,ro=y") == {"": "data/x,ro=y"}
    assert comma_lists.parse_records('"es=a,b",ro=c') == {"es": "a,b", "ro": "c"}


def test_a_comma_of_a_path_does_not_end_it_unseen(tmp_path):
    path = _write(tmp_path / "a,b", "es", [0])
    with pytest.raises(UserError, match="comma in .* is read as the end"):
        comma_lists.parse_records(f"es={path},ro=x")
    with pytest.raises(UserError, match="comma in .* is read as the end"):
        comma_lists.parse_evaluate(f"v=es={path}".split(","))
    quoted = comma_lists.parse_records(f'"es={path}",ro=x')
    assert quoted == {"es": path, "ro": "x"}


@pytest.mark.parametrize(
    "text", ["es=a,es=b", "es=,ro=b", "es=a,b", "es=a,,ro=b", '"es=a"x,ro=b\n"c']
)
def test_a_wrong_list_of_languages_is_told_in_one_line(text):
    with pytest.raises(UserError, match="--records: .* stands in double quotes"):
        comma_lists.parse_records(text)


def test_what_is_learnt_is_of_every_language(tmp_path):
    joined = _open(tmp_path, es=range(3), ro=range(3))
    (learnt,) = overlap.trained_on.gather("run", joined, [])
    assert sorted(learnt.contents.ids) == sorted(
        f"{name}/{n}" for name in ("es", "ro") for n in range(3)
    )
    for name in ("es", "ro"):
        shared = overlap.find([learnt], overlap.look(joined.sets[name]))
        assert len(shared.same) == 3
    assert len(overlap.find([learnt], overlap.look(joined)).same) == 3


def test_a_folder_is_not_trained_on_whole_and_evaluated_on_in_part(tmp_path):
    es, ro = _write(tmp_path, "es", range(3)), _write(tmp_path, "ro", range(3))
    sets = evaluation.parse_sets([f"v=es={es}+ro={ro}"])
    whole = records.open_records(str(tmp_path / "ro"))
    with pytest.raises(UserError, match="the evaluation set 'v'"):
        admission.require_apart(str(tmp_path / "ro"), whole, sets)


@pytest.mark.parametrize("language", ["v", "V", "a2b"])
def test_a_language_that_metrics_could_not_tell_is_refused(language):
    with pytest.raises(UserError, match=f"--records: .* called '{language}'"):
        comma_lists.parse_records(f"es=x,{language}=y")
    with pytest.raises(UserError, match=f"--evaluate: .* called '{language}'"):
        comma_lists.parse_evaluate([f"both=es=x+{language}=y"])
