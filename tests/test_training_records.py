import dataclasses
import logging
import math
import pathlib

import corpus
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import dataset, records
from avl_tf.dataset import ClipConfig, training_records
from avl_tf.records import Clip, record_index

CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=4)
SKIP = dataclasses.replace(CLIPS, on_corrupt="skip")


def _recordings_read(opened, clips, n_batches):
    batches = dataset.train_batches(opened, clips, 4, seed=0).take(n_batches)
    ids = [
        clip_id.decode() for batch in batches for clip_id in batch["clip_id"].numpy()
    ]
    return {clip_id.split("@")[0] for clip_id in ids}


def _fraction(path, fraction, seed=0):
    clips = dataclasses.replace(CLIPS, fraction=fraction, fraction_seed=seed)
    return training_records.open_training_records(path, clips), clips


def test_a_fraction_is_counted_exactly_and_only_its_recordings_are_read(tmp_path):
    path = corpus.make_set(str(tmp_path), n_recordings=10, n_shards=3)
    opened, clips = _fraction(path, 0.4)
    assert (opened.n_records, clips.n_clips(opened)) == (4, 16)
    steps = dataset.steps_per_epoch(opened, clips, 4)
    assert steps == 4
    chosen = training_records.choose([f"r{i}" for i in range(10)], 0.4, 0)
    assert _recordings_read(opened, clips, steps) == chosen
    assert _recordings_read(opened, clips, 3 * steps) == chosen


def test_a_smaller_fraction_lies_within_a_larger_one():
    ids = [f"v{i}" for i in range(200)]
    fractions = (0.02, 0.04, 0.1, 0.2, 0.5, 0.8, 1.0)
    chosen = [training_records.choose(ids, fraction, 7) for fraction in fractions]
    assert [len(part) for part in chosen] == [4, 8, 20, 40, 100, 160, 200]
    for smaller, larger in zip(chosen, chosen[1:], strict=False):
        assert smaller < larger
    assert chosen[2] == training_records.choose(reversed(ids), 0.1, 7)
    assert chosen[2] != training_records.choose(ids, 0.1, 8)
    assert len(training_records.choose(ids[:3], 0.01, 7)) == 1


def test_all_records_of_a_recording_are_in_or_out(tmp_path):
    made = [corpus.make_record(f"r{i}", recording_id=f"v{i % 4}") for i in range(12)]
    path = corpus.write_records(str(tmp_path), made)
    opened, clips = _fraction(path, 0.5)
    read = _recordings_read(opened, clips, 6)
    assert len(read) == 6
    assert len({int(name[1:]) % 4 for name in read}) == 2


def test_the_name_of_a_part_says_how_much_it_is(tmp_path):
    path = corpus.make_set(str(tmp_path), n_recordings=10)
    opened, clips = _fraction(path, 0.1)
    with pytest.raises(ValueError, match=r"1 of 10 recordings.*raise.*--fraction"):
        dataset.steps_per_epoch(opened, clips, 5)


def _changed(record, storage, change):
    """The record with one array changed by `change`, as another program might write."""
    example = tf.train.Example.FromString(records.encode(record, storage))
    change(example.features.feature)
    return example.SerializeToString()


def _with_value(name, value):
    def change(feature):
        array = np.frombuffer(feature[name].bytes_list.value[0], np.float16).copy()
        array[len(array) // 2] = value
        feature[name].bytes_list.value[0] = array.tobytes()

    return change


def _shorter(feature):
    feature["log_mel"].bytes_list.value[0] = feature["log_mel"].bytes_list.value[0][:-2]


def _without_features(feature):
    del feature["features_2d"]


def _with_time(name, value):
    def change(feature):
        feature[name].float_list.value[-1] = value

    return change


def _with_one_less(name):
    def change(feature):
        values = feature[name].float_list.value or feature[name].bytes_list.value
        del values[-1]

    return change


WRONG_CONTENT = {
    "a NaN in features": (
        _with_value("features_2d", np.nan),
        "features_2d holds a NaN",
    ),
    "an infinity": (_with_value("log_mel", -np.inf), "log_mel holds a NaN"),
    "a wrong size": (_shorter, "log_mel is not an array of 40 columns"),
    "no features": (_without_features, "not a record of this set"),
    **{
        what: (change, "its clips are not spans of seconds with labels")
        for what, change in {
            "a NaN for a start": _with_time("clip_starts_s", np.nan),
            "an end before its start": _with_time("clip_ends_s", 5.5),
            "an endless clip": _with_time("clip_ends_s", np.inf),
            "a clip before the record": _with_time("clip_starts_s", -1),
            "a record without an end": _with_time("end_s", np.nan),
            "an end too few": _with_one_less("clip_ends_s"),
            "a label too few": _with_one_less("clip_labels"),
        }.items()
    },
}


def _flip(shard, offset):
    content = bytearray(shard.read_bytes())
    content[offset] ^= 255
    shard.write_bytes(content)


def _set_with_wrong_content(folder, change):
    """8 records in 2 shards; r3, the second of the second shard, is wrong."""

    def encode(record, storage):
        if record.id == "r3":
            return _changed(record, storage, change)
        return records.encode(record, storage)

    made = [corpus.make_record(f"r{i}") for i in range(8)]
    return corpus.write_records(str(folder), made, encode=encode)


def _set_with_wrong_bytes(folder, place):
    """The same; the bytes of r3 are wrong at a place between its first and last."""
    path = corpus.make_set(str(folder))
    entries = record_index.list_records(records.open_records(path))
    entry = next(entry for entry in entries if entry.id == "r3")
    shard = pathlib.Path(folder, entry.shard)
    _flip(shard, entry.offset + (entry.n_bytes + place) % entry.n_bytes)
    return path


def _read_to_the_end(path, clips, n_batches):
    opened = training_records.open_training_records(path, clips)
    batches = dataset.train_batches(opened, clips, 4, seed=0).take(n_batches)
    return list(dataset.read(batches, opened))


@pytest.mark.parametrize("case", WRONG_CONTENT)
def test_a_damaged_record_is_an_error_that_names_it(tmp_path, case):
    change, reason = WRONG_CONTENT[case]
    path = _set_with_wrong_content(tmp_path, change)
    expected = rf"train-00001-of-00002.tfrecord: damaged: record 1 \(r3, .*{reason}"
    with pytest.raises(ValueError, match=expected):
        _read_to_the_end(path, CLIPS, 8)


def test_a_record_whose_bytes_no_message_can_quote_is_an_error(tmp_path):
    made = [corpus.make_record(f"r{i}") for i in range(4)]

    def encode(record, storage):
        return records.encode(record, storage) + b"\x0a\xff" * (record.id == "r3")

    path = corpus.write_records(str(tmp_path), made, 1, encode=encode)
    with pytest.raises(ValueError, match=r"record 3 \(r3, .*: it is not a record"):
        _read_to_the_end(path, CLIPS, 8)
    opened = records.open_records(path)
    with pytest.raises(ValueError, match=r"record 3 \(r3, .*: it is not a record"):
        list(dataset.read(dataset.evaluation_batches(opened, 2.0, 8), opened))
    assert training_records.open_training_records(path, SKIP).n_skipped == 1


def test_a_clip_far_behind_the_end_is_the_last_step(tmp_path):
    clips = (Clip(1, 2), Clip(3e9, 3e38))
    path = corpus.write_records(
        str(tmp_path), [corpus.make_record("r", clips=clips)], 1
    )
    opened = records.open_records(path)
    (batch,) = dataset.evaluation_batches(opened, 2.0, 8)
    (serialized,) = tf.data.TFRecordDataset(opened.paths)
    found = records.decode(serialized.numpy(), opened.spec)
    last = np.float32(found.features_2d[-1])
    np.testing.assert_allclose(batch["visual"][1], last / np.linalg.norm(last), 1e-6)
    assert batch["n_frames"].numpy().tolist() == [101, 1]
    assert np.array_equal(batch["log_mel"][1, 0], found.log_mel[-1])


@pytest.mark.parametrize("case", WRONG_CONTENT)
def test_a_damaged_record_is_skipped_named_and_counted(tmp_path, case, caplog):
    change, reason = WRONG_CONTENT[case]
    path = _set_with_wrong_content(tmp_path, change)
    with caplog.at_level(logging.WARNING):
        opened = training_records.open_training_records(path, SKIP)
    assert "train-00001-of-00002.tfrecord: 1 of 4 records" in caplog.text
    assert "record 1 (r3, " in caplog.text
    assert reason in caplog.text
    assert (opened.n_skipped, opened.n_records, opened.n_clips) == (1, 7, 28)
    steps = dataset.steps_per_epoch(opened, SKIP, 4)
    read = _recordings_read(opened, SKIP, steps)
    assert read == {f"r{i}" for i in range(8)} - {"r3"}


@pytest.mark.parametrize(
    ("place", "lost", "reason"),
    [
        (-4, {"r3"}, "checksum is wrong"),
        (3000, {"r3"}, "checksum is wrong"),
        (12, {"r3"}, "it is not a record"),
        (0, {"r3", "r5", "r7"}, "hides the rest of the file"),
        (9, {"r3", "r5", "r7"}, "hides the rest of the file"),
    ],
)
def test_wrong_bytes_cost_as_few_records_as_the_framing_allows(
    tmp_path, place, lost, reason, caplog
):
    path = _set_with_wrong_bytes(tmp_path, place)
    expected = rf"train-00001-of-00002.tfrecord: damaged: record 1 .*{reason}"
    with pytest.raises(ValueError, match=expected):
        _read_to_the_end(path, CLIPS, 8)
    with caplog.at_level(logging.WARNING):
        opened = training_records.open_training_records(path, SKIP)
    assert f"{len(lost)} of 4 records" in caplog.text
    assert opened.n_skipped == len(lost)
    steps = dataset.steps_per_epoch(opened, SKIP, 4)
    assert _recordings_read(opened, SKIP, steps) == {f"r{i}" for i in range(8)} - lost


def test_two_damaged_records_beside_each_other_are_both_found(tmp_path):
    path = _set_with_wrong_bytes(tmp_path, 3000)
    entries = list(record_index.list_records(records.open_records(path)))
    for name in ("r1", "r7"):
        entry = next(entry for entry in entries if entry.id == name)
        _flip(tmp_path / entry.shard, entry.offset + 5000)
    opened = training_records.open_training_records(path, SKIP)
    assert opened.n_skipped == 3
    assert _recordings_read(opened, SKIP, 5) == {"r0", "r2", "r4", "r5", "r6"}


@pytest.mark.parametrize(("part", "n_lost"), [(0.99, 1), (0.6, 2)])
def test_a_cut_shard_is_read_to_its_last_whole_record(tmp_path, part, n_lost, caplog):
    path = corpus.make_set(str(tmp_path))
    shard = tmp_path / "train-00000-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[: int(part * shard.stat().st_size)])
    with pytest.raises(ValueError, match="bytes long"):
        training_records.open_training_records(path, CLIPS)
    with caplog.at_level(logging.WARNING):
        opened = training_records.open_training_records(path, SKIP)
    assert opened.n_skipped == n_lost
    assert "the file ends within it" in caplog.text


def test_a_shard_cut_between_two_records_is_told(tmp_path, caplog):
    path = corpus.make_set(str(tmp_path))
    entries = list(record_index.list_records(records.open_records(path)))
    shard = tmp_path / entries[0].shard
    shard.write_bytes(shard.read_bytes()[: entries[1].offset])
    with caplog.at_level(logging.WARNING):
        assert training_records.open_training_records(path, SKIP).n_skipped == 3
    assert "3 of 4 records" in caplog.text
    assert "4 were written" in caplog.text


def test_a_missing_shard_is_an_error_even_where_damage_is_skipped(tmp_path):
    path = corpus.make_set(str(tmp_path))
    (tmp_path / "train-00000-of-00002.tfrecord").unlink()
    with pytest.raises(ValueError, match="missing"):
        training_records.open_training_records(path, SKIP)


def test_nothing_but_damaged_records_is_an_error(tmp_path):
    path = corpus.write_records(
        str(tmp_path),
        [corpus.make_record("r0")],
        n_shards=1,
        encode=lambda record, storage: b"garbage",
    )
    with pytest.raises(ValueError, match="all 1 records are damaged"):
        training_records.open_training_records(path, SKIP)


def test_a_fraction_of_a_set_with_a_damaged_record_is_an_error(tmp_path):
    path = _set_with_wrong_bytes(tmp_path, 12)
    with pytest.raises(ValueError, match="damaged: record 1 .*it is not a record"):
        _fraction(path, 0.5)


def test_a_sound_set_is_read_as_it_is(tmp_path):
    path = corpus.make_set(str(tmp_path))
    plain = training_records.open_training_records(path, CLIPS)
    assert plain == records.open_records(path)
    assert training_records.open_training_records(path, SKIP) == plain


def test_annotated_clips_of_a_part_are_counted(tmp_path):
    made = [
        corpus.make_record(f"r{i}", clips=tuple(records.Clip(0, 1) for _ in range(i)))
        for i in range(6)
    ]
    path = corpus.write_records(str(tmp_path), made)
    for fraction in (0.3, 0.5, 1.0):
        opened, _ = _fraction(path, fraction)
        chosen = training_records.choose([f"r{i}" for i in range(6)], fraction, 0)
        expected = sum(max(1, int(name[1:])) for name in chosen)
        assert opened.n_clips == expected
        assert opened.n_records == math.floor(6 * fraction + 0.5)
