import dataclasses
import json
import pathlib

import corpus
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import records
from avl_tf.records import FeatureSpec, Record, record_index, schema


def _spec_of(path):
    return records.open_records(path).spec


def test_a_record_comes_back_as_it_was(tmp_path):
    record = corpus.make_record("r0")
    spec = _spec_of(corpus.write_records(str(tmp_path), [record]))
    found = records.decode(records.encode(record), spec)
    assert found.log_mel.dtype == np.float16
    assert np.array_equal(found.log_mel, record.log_mel)
    assert np.array_equal(found.features_2d, record.features_2d)
    assert found.features_3d is None
    assert found.clips == record.clips
    for name in ("id", "recording_id", "language", "split", "end_s", "labels"):
        assert getattr(found, name) == getattr(record, name)


def test_two_streams_and_no_clips_come_back(tmp_path):
    three = FeatureSpec("other", 5, 1.5)
    record = corpus.make_record(
        "é", features_3d=np.ones((3, 5), np.float16), clips=(), labels={"ж": 1}
    )
    path = corpus.write_records(str(tmp_path), [record], features_3d=three)
    serialized = next(iter(tf.data.TFRecordDataset(records.open_records(path).paths)))
    found = records.decode(serialized.numpy(), _spec_of(path))
    assert found.features_3d.shape == (3, 5)
    assert (found.id, found.clips, found.labels) == ("é", (), {"ж": 1})


@pytest.mark.parametrize("storage", ["float16", "int8"])
@pytest.mark.parametrize("features", [True, False])
def test_an_image_comes_back_byte_for_byte(tmp_path, storage, features):
    jpeg = tf.io.encode_jpeg(np.zeros((8, 9, 3), np.uint8)).numpy()
    changes = {} if features else {"features_2d": None}
    record = corpus.make_record("r0", image=jpeg, **changes)
    path = corpus.write_records(
        str(tmp_path), [record], 1, storage=storage, images=True, **changes
    )
    opened = records.open_records(path)
    (serialized,) = tf.data.TFRecordDataset(opened.paths)
    found = records.decode(serialized.numpy(), opened.spec)
    assert found.image == jpeg and (found.features_2d is not None) == features
    # One who does not look at the images reads the rest.
    without = dataclasses.replace(opened.spec, images=False)
    assert records.decode(serialized.numpy(), without).image is None
    (listed,) = record_index.list_records(opened)
    assert (listed.id, listed.n_clips) == ("r0", 4)


def test_an_image_that_is_no_jpeg_is_an_error_that_names_the_record(tmp_path):
    png = tf.io.encode_png(np.zeros((8, 9, 3), np.uint8)).numpy()
    with pytest.raises(ValueError, match="record r7: image is not a JPEG"):
        records.encode(corpus.make_record("r7", image=png))
    path = corpus.write_records(str(tmp_path), [corpus.make_record("r0")], images=True)
    opened = records.open_records(path)
    (listed,) = record_index.verify(opened, record_index.list_records(opened))
    assert listed.fault == "it is not a record of this set"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 40)), "at least one time step"),
        (np.zeros(40), "at least one time step"),
        (np.full((3, 40), np.nan), "NaN"),
        (np.full((3, 40), 1e6), "infinity"),
    ],
)
def test_a_bad_array_is_an_error_that_names_the_record(array, message):
    record = Record("r7", "r7", "xx", "train", 0, 1, log_mel=array)
    with pytest.raises(ValueError, match=f"record r7: log_mel.*{message}"):
        records.encode(record)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 300])
def test_a_record_ends_with_the_bytes_that_protocol_buffers_give_its_arrays(n_steps):
    jpeg = tf.io.encode_jpeg(np.zeros((8, 9, 3), np.uint8)).numpy()
    log_mel = np.zeros((n_steps, 40), np.float16)
    record = corpus.make_record("r7", log_mel=log_mel, image=jpeg)
    example = tf.train.Example()
    for name, content in (
        ("log_mel", log_mel.tobytes()),
        ("image", jpeg),
        ("features_2d", record.features_2d.tobytes()),
    ):
        example.features.feature[name].bytes_list.value.append(content)
    found = records.encode(record)
    assert found.endswith(example.SerializeToString(deterministic=True))


def test_a_record_that_no_reader_could_take_is_refused(monkeypatch):
    record = corpus.make_record("r7")
    monkeypatch.setattr(schema, "_LARGEST", len(records.encode(record)))
    records.encode(record)
    monkeypatch.setattr(schema, "_LARGEST", schema._LARGEST - 1)
    with pytest.raises(ValueError, match="record r7: larger than 2 GB"):
        records.encode(record)


def test_open_records_takes_a_folder_or_a_split(tmp_path):
    made = [corpus.make_record(f"r{i}") for i in range(5)]
    path = corpus.write_records(str(tmp_path), made)
    for opened in (records.open_records(path), records.open_records(str(tmp_path))):
        assert opened.n_records == 5
        assert opened.n_clips == sum(len(record.clips) for record in made)


def test_a_missing_folder_is_an_error_that_says_what_was_searched(tmp_path):
    with pytest.raises(FileNotFoundError, match="looked for .*spec.json"):
        records.open_records(str(tmp_path / "nothing" / "train"))


def test_a_misspelt_split_is_an_error_that_lists_the_splits(tmp_path):
    corpus.make_set(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no split 'trian', only train"):
        records.open_records(str(tmp_path / "trian"))


def test_a_cut_shard_is_an_error_that_names_it(tmp_path):
    opened = records.open_records(corpus.make_set(str(tmp_path)))
    shard = pathlib.Path(opened.paths[1])
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{shard.name}.*bytes long.*extract again"):
        records.open_records(str(tmp_path))
    shard.unlink()
    with pytest.raises(ValueError, match=f"{shard.name}: missing"):
        records.open_records(str(tmp_path))


def test_an_empty_set_is_an_error(tmp_path):
    path = corpus.write_records(str(tmp_path), [], n_shards=1)
    with pytest.raises(ValueError, match="0 recordings.*failures.jsonl"):
        records.open_records(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', "not json"])
def test_a_foreign_spec_is_an_error_that_names_it(tmp_path, text):
    corpus.make_set(str(tmp_path))
    (tmp_path / "spec.json").write_text(text)
    with pytest.raises(ValueError, match="spec.json"):
        records.open_records(str(tmp_path))


def test_the_fingerprint_follows_the_content(tmp_path):
    first = records.open_records(corpus.make_set(str(tmp_path / "a")))
    again = records.open_records(corpus.make_set(str(tmp_path / "b")))
    other = records.open_records(corpus.make_set(str(tmp_path / "c"), seed=1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_spec_json_round_trip(tmp_path, storage):
    spec = _spec_of(corpus.make_set(str(tmp_path), storage=storage))
    text = json.dumps(spec.to_json())
    assert records.RecordsSpec.from_json(json.loads(text), "spec.json") == spec


def test_a_spec_of_the_first_format_is_of_float16_and_has_no_images(tmp_path):
    spec = _spec_of(corpus.make_set(str(tmp_path)))
    value = {**spec.to_json(), "format": 1}
    del value["storage"], value["images"]
    assert records.RecordsSpec.from_json(value, "spec.json") == spec


def test_an_unknown_storage_is_an_error_that_names_it(tmp_path):
    spec = _spec_of(corpus.make_set(str(tmp_path)))
    value = {**spec.to_json(), "storage": "int4"}
    with pytest.raises(ValueError, match=r"spec\.json: .*unknown storage 'int4'"):
        records.RecordsSpec.from_json(value, "spec.json")


def test_int8_records_are_half_as_long_and_nearly_the_same(tmp_path):
    record = corpus.make_record("r0")
    path = corpus.write_records(str(tmp_path), [record], n_shards=1, storage="int8")
    opened = records.open_records(path)
    (shard,) = opened.spec.shards.values()
    assert shard.n_bytes < 0.52 * len(records.encode(record))
    (serialized,) = tf.data.TFRecordDataset(opened.paths)
    found = records.decode(serialized.numpy(), opened.spec)
    assert np.abs(found.log_mel.astype(float) - record.log_mel).max() < 0.2
    assert np.abs(found.features_2d.astype(float) - record.features_2d).max() < 0.003
    assert (found.id, found.clips, found.labels) == ("r0", record.clips, record.labels)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_a_record_that_is_one_message_is_read_too(tmp_path, storage):
    """As older ones and those of other programs are: fields in any order."""

    def encode(record, storage):
        example = tf.train.Example.FromString(records.encode(record, storage))
        return example.SerializeToString()

    made = [corpus.make_record(f"r{i}") for i in range(3)]
    path = corpus.write_records(str(tmp_path), made, encode=encode, storage=storage)
    opened = records.open_records(path)
    found = [
        records.decode(serialized.numpy(), opened.spec).id
        for serialized in tf.data.TFRecordDataset(opened.paths)
    ]
    assert found == ["r0", "r2", "r1"]
    listed = list(record_index.list_records(opened))
    assert [entry.recording_id for entry in listed] == found
    assert [entry.n_clips for entry in listed] == [4, 4, 4]


def test_a_listing_does_not_read_the_arrays(tmp_path):
    opened = records.open_records(corpus.make_set(str(tmp_path), n_recordings=4))
    listed = list(record_index.list_records(opened))
    for entry in listed:
        shard = pathlib.Path(opened.path(entry.shard))
        content = bytearray(shard.read_bytes())
        behind = entry.offset + entry.n_bytes
        content[behind - 10_000 : behind] = bytes(10_000)
        shard.write_bytes(content)
    assert list(record_index.list_records(opened)) == listed
