import dataclasses
import pathlib

import corpus
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import dataset, records
from avl_tf.dataset import ClipConfig, dealing, neighbors
from avl_tf.errors import UserError
from avl_tf.records.stored_arrays import StoredArray

CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=4)


def _take(n, *arguments, **keywords):
    batches = dataset.train_batches(*arguments, **keywords).take(n)
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches]


def _ids(batches):
    return [clip_id.decode() for batch in batches for clip_id in batch["clip_id"]]


@pytest.fixture
def train_set(tmp_path):
    return records.open_records(corpus.make_set(str(tmp_path)))


def test_random_clips_are_what_the_authors_would_cut(tmp_path):
    """Whole-second starts; frames from 100 s - 2; features int(s) to int(e) + 1."""
    record = corpus.make_record("r0", n_seconds=9)
    opened = records.open_records(corpus.write_records(str(tmp_path), [record], 1))
    (batch,) = _take(
        1, opened, dataclasses.replace(CLIPS, clips_per_recording=64), 64, 0
    )
    starts = set()
    for i, clip_id in enumerate(_ids([batch])):
        start = float(clip_id.split("@")[1].split("-")[0])
        starts.add(start)
        frame = max(0, int(100 * start) - 2)
        expected = record.log_mel[frame : frame + 200].astype(np.float32)
        assert np.array_equal(batch["log_mel"][i], expected)
        feature = record.features_2d[int(start) : int(start + 2) + 1].max(0)
        feature = feature.astype(np.float32) / np.linalg.norm(
            feature.astype(np.float32)
        )
        assert np.abs(batch["visual"][i] - feature).max() < 1e-3
        assert batch["n_frames"][i] == 200
    # range(max(1, duration - (clip + 1))): 9 - 3 = 6 possible starts.
    assert starts == {0, 1, 2, 3, 4, 5}


def test_two_readings_are_equal_and_two_epochs_differ(train_set):
    steps = dataset.steps_per_epoch(train_set, CLIPS, 8)
    first, again = (_take(2 * steps, train_set, CLIPS, 8, seed=3) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)
    assert _ids(first[:steps]) != _ids(first[steps:])
    assert _ids(first) != _ids(_take(2 * steps, train_set, CLIPS, 8, seed=4))


@pytest.mark.parametrize("shuffle_clips", [0, 16])
def test_a_later_first_step_yields_the_tail(train_set, shuffle_clips):
    clips = dataclasses.replace(CLIPS, shuffle_clips=shuffle_clips)
    whole = _ids(_take(10, train_set, clips, 8, seed=0))
    for first_step in (1, 4, 7):
        tail = _ids(_take(10 - first_step, train_set, clips, 8, 0, first_step))
        assert tail == whole[8 * first_step :]


@pytest.mark.parametrize("global_seed", [0, 5])
def test_the_programs_global_seed_does_not_matter(train_set, global_seed):
    expected = _ids(_take(3, train_set, CLIPS, 8, seed=0))
    tf.random.set_seed(global_seed)
    assert _ids(_take(3, train_set, CLIPS, 8, seed=0)) == expected


def test_an_epoch_visits_every_recording(train_set):
    steps = dataset.steps_per_epoch(train_set, CLIPS, 8)
    ids = _ids(_take(steps, train_set, CLIPS, 8, seed=0))
    recordings = sorted(clip_id.split("@")[0] for clip_id in ids)
    assert recordings == sorted([f"r{i}" for i in range(8)] * 4)


def test_shuffled_clips_mix_recordings_in_a_batch(train_set):
    mixed = dataclasses.replace(CLIPS, shuffle_clips=32)
    for clips, fewest, most in ((CLIPS, 2, 2), (mixed, 4, 8)):
        (batch,) = _take(1, train_set, clips, 8, seed=0)
        n_recordings = len({clip_id.split("@")[0] for clip_id in _ids([batch])})
        assert fewest <= n_recordings <= most


def test_an_iterator_that_is_let_go_of_waits_for_no_tuning(train_set):
    clips = ClipConfig(clips_per_recording=2, clip_s=4)
    batches = [
        dataset.train_batches(train_set, clips, 4, 0),
        dataset.evaluation_batches(train_set, 4, 4),
    ]
    assert [one.options().autotune.enabled for one in batches] == [False, False]


def test_annotated_clips_are_all_there_once(train_set):
    clips = ClipConfig("annotated", clip_s=3.0)
    assert clips.n_clips(train_set) == 32
    batches = _take(4, train_set, clips, 8, seed=0)
    assert len(set(_ids(batches))) == 32
    assert (batches[0]["n_frames"] == 201).all()
    assert batches[0]["log_mel"].shape == (8, 300, 40)
    assert not batches[0]["log_mel"][:, 201:].any()


def test_clip_lengths_do_not_wobble_with_the_start(tmp_path):
    clips = tuple(records.Clip(i / 10, i / 10 + 2) for i in range(40))
    made = [corpus.make_record("r", clips=clips)]
    opened = records.open_records(corpus.write_records(str(tmp_path), made, 1))
    (batch,) = dataset.evaluation_batches(opened, 9.0, batch_size=64)
    assert (batch["n_frames"].numpy() == 201).all()


def test_whole_recordings_are_cut_to_clip_s(train_set):
    (batch,) = _take(1, train_set, ClipConfig("whole", clip_s=5.0), 8, seed=0)
    assert (batch["n_frames"] == 500).all()


def test_a_recording_shorter_than_a_clip_is_padded(tmp_path):
    opened = records.open_records(corpus.make_set(str(tmp_path)))
    clips = ClipConfig(clip_s=20.0, clips_per_recording=2)
    (batch,) = _take(1, opened, clips, 4, seed=0)
    assert batch["log_mel"].shape == (4, 2000, 40)
    assert (batch["n_frames"] == 801).all()
    assert not batch["log_mel"][:, 801:].any()


def test_evaluation_reads_every_clip_in_order_and_the_last_batch(train_set):
    batches = list(dataset.evaluation_batches(train_set, 2.0, batch_size=9))
    assert [len(batch["clip_id"]) for batch in batches] == [9, 9, 9, 5]
    ids = [i.decode() for batch in batches for i in batch["clip_id"].numpy()]
    again = dataset.evaluation_batches(train_set, 2.0, batch_size=32)
    assert ids == [i.decode() for i in next(iter(again))["clip_id"].numpy()]
    assert ids[0] == "r0@0.00-2.00"


def test_a_record_without_clips_is_one_clip_in_evaluation(tmp_path):
    made = [corpus.make_record("a", clips=()), corpus.make_record("b")]
    opened = records.open_records(corpus.write_records(str(tmp_path), made))
    (batch,) = dataset.evaluation_batches(opened, 9.0, batch_size=32)
    assert len(batch["clip_id"]) == 1 + 4 == opened.n_clips


def test_log_mel_can_be_referenced_to_the_clip(train_set):
    stored, clip = (
        next(iter(dataset.evaluation_batches(train_set, 2.0, 32, reference)))
        for reference in ("stored", "clip")
    )
    loudest = tf.reduce_max(stored["log_mel"], [1, 2], keepdims=True)
    expected = np.maximum(stored["log_mel"] - loudest, -80)
    assert np.abs(clip["log_mel"] - expected).max() < 0.1
    assert (np.max(clip["log_mel"], axis=(1, 2)) == 0).all()


def test_pooled_streams_are_normalised_by_themselves():
    windows = [tf.constant([[[3.0, 0], [0, 4], [9, 9]]]), tf.constant([[[0.0, 2]]])]
    masks = [tf.constant([[True, True, False]]), tf.constant([[True]])]
    assert np.allclose(dataset.pool_features(windows, masks), [[0.6, 0.8, 0, 1]])


def test_a_batch_larger_than_the_training_set_is_an_error(train_set):
    with pytest.raises(ValueError, match="32 clips, fewer than one batch of 33"):
        dataset.train_batches(train_set, CLIPS, 33, seed=0)


def test_int8_records_give_nearly_the_same_clips(tmp_path):
    opened = {
        storage: records.open_records(
            corpus.make_set(str(tmp_path / storage), storage=storage)
        )
        for storage in ("float16", "int8")
    }
    clips = dataclasses.replace(CLIPS, clip_s=12.0)
    (exact,), (rough,) = (_take(1, each, clips, 32, 0) for each in opened.values())
    assert np.array_equal(exact["clip_id"], rough["clip_id"])
    assert np.array_equal(exact["n_frames"], rough["n_frames"])
    difference = exact["log_mel"].astype("f") - rough["log_mel"].astype("f")
    assert 0 < np.abs(difference).max() < 0.2
    assert not rough["log_mel"][:, 801:].any()
    similarity = (exact["visual"] * rough["visual"]).sum(axis=1)
    assert similarity.min() > 0.9999


def test_recordings_that_do_not_fit_in_memory_are_shuffled_in_part(
    train_set, monkeypatch
):
    """32 bytes hold no recording's clips: those of one shard come in its order."""
    monkeypatch.setattr(dealing, "_SHUFFLED_BYTES", 32)
    ids = _ids(_take(4, train_set, CLIPS, 8, seed=0))
    order = [clip_id.split("@")[0] for clip_id in ids[::4]]
    assert sorted(order) == [f"r{i}" for i in range(8)]
    for shard in (["r0", "r2", "r4", "r6"], ["r1", "r3", "r5", "r7"]):
        assert [name for name in order if name in shard] == shard


def test_a_damaged_shard_is_an_error_that_names_it_in_evaluation(train_set):
    shard = pathlib.Path(train_set.paths[1])
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    batches = dataset.evaluation_batches(train_set, 2.0, 8)
    with pytest.raises(ValueError, match=f"{shard.name}: damaged"):
        list(dataset.read(batches, train_set))


def test_a_shard_that_goes_while_it_is_read_is_told(tmp_path):
    path = corpus.make_set(str(tmp_path / "r"), n_recordings=4)
    opened = records.open_records(path)
    pathlib.Path(opened.paths[1]).unlink()
    for batches in (
        dataset.evaluation_batches(opened, 2.0, 8),
        dataset.train_batches(opened, CLIPS, 2, seed=0),
    ):
        with pytest.raises(UserError, match="00001-of.*Was it extracted anew"):
            list(dataset.read(batches, opened))


def test_an_error_that_is_not_of_the_records_is_told_as_it_is(train_set):
    batches = dataset.evaluation_batches(train_set, 2.0, 8)
    wrong = batches.map(lambda batch: tf.reshape(batch["n_frames"], [3, 5]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        list(dataset.read(wrong, train_set))


def test_clips_are_cut_from_the_stored_bytes(train_set, monkeypatch):
    """Whole recordings as numbers would cost several times the work and memory."""

    def refuse(array):
        raise AssertionError("a whole recording")

    monkeypatch.setattr(StoredArray, "all", refuse)
    assert len(_take(2, train_set, CLIPS, 8, seed=0)) == 2
    assert list(dataset.evaluation_batches(train_set, 2.0, 8))


def test_windows_beside_a_clip_are_the_nearest_and_overlap_none():
    def found(start_s, clip_s, end_s, n):
        starts = tf.constant([start_s], tf.float32)
        return neighbors.candidates(starts, clip_s, end_s, n)[0].numpy().tolist()

    assert found(30, 10.0, 90.0, 5) == [30, 20, 40, 10, 50]
    assert found(30, 10.0, 90.0, 1) == [30]
    # At either end the nearest are on one side.
    assert found(0, 10.0, 60.0, 4) == [0, 10, 20, 30]
    assert found(3, 10.0, 40.0, 4) == [3, 13, 23, 3]
    assert found(50, 10.0, 60.0, 3) == [50, 40, 30]
    # Of those that fit, again and again; of a short recording the clip alone.
    assert found(0, 10.0, 24.9, 5) == [0, 10, 0, 10, 0]
    assert found(0, 10.0, 6.0, 3) == [0, 0, 0]
    np.testing.assert_allclose(found(3, 0.1, 60.0, 3), [3, 2.9, 3.1], rtol=1e-6)
    assert found(5, 2.5, 10.0, 4) == [5, 2.5, 7.5, 0]


def test_candidates_are_heard_beside_the_clips_of_any_other_loss(tmp_path):
    made = [corpus.make_record(f"r{n}", n_seconds=9) for n in range(4)]
    opened = records.open_records(corpus.write_records(str(tmp_path), made))
    clips = dataclasses.replace(CLIPS, shuffle_clips=8)
    plain = _take(4, opened, clips, 8, 0)
    heard = _take(4, opened, clips, 8, 0, n_candidates=3, with_groups=True)
    by_name = {record.id: record for record in made}
    for one, more in zip(plain, heard, strict=True):
        assert more["log_mel"].shape == (8, 3, 200, 40) and more["group"].shape == (8,)
        assert more["n_frames"].shape == (8, 3)
        for name in ("clip_id", "visual"):
            assert np.array_equal(one[name], more[name])
        for name in ("log_mel", "n_frames"):
            assert np.array_equal(one[name], more[name][:, 0])
        for clip_id, log_mel in zip(_ids([more]), more["log_mel"], strict=True):
            name, span = clip_id.split("@")
            start = float(span.split("-")[0])
            away = [s for s in (-2, 2, -4, 4, -6, 6) if 0 <= start + s <= 7][:2]
            for k, s in enumerate(away, 1):
                frame = max(0, int(100 * (start + s)) - 2)
                expected = by_name[name].log_mel[frame : frame + 200]
                assert np.array_equal(log_mel[k], expected)


def test_clips_grow_by_the_nearer_neighbour(tmp_path):
    def found(spans, min_s):
        starts, ends = tf.unstack(tf.constant(spans, tf.float32), axis=1)
        pairs = np.stack(neighbors.grown(starts, ends, min_s), axis=1)
        return [tuple(pair) for pair in pairs.tolist()]

    spans = [(0, 2), (3, 5), (9, 10), (10.5, 12)]
    assert found(spans, 2) == [(0, 2), (3, 5), (9, 12), (9, 12)]
    assert found(spans, 4) == [(0, 5), (0, 5), (3, 12), (3, 12)]
    assert found(spans, 99) == [(0, 12)] * 4
    assert found(spans[::-1], 0.5) == spans
    assert found([(1, 2)], 9) == [(1, 2)]
    opened = records.open_records(corpus.make_set(str(tmp_path), n_recordings=4))
    clips = ClipConfig("annotated", 8.0, min_clip_s=3.0)
    (batch,) = _take(1, opened, clips, 16, 0)
    spans = (one.split("@")[1].split("-") for one in _ids([batch]))
    lengths = [float(start) - float(end) for start, end in spans]
    assert len(lengths) == 16 and set(lengths) == {-4.0}
    with pytest.raises(UserError, match="--min_clip_s=3 is for --clip_sampling=annot"):
        ClipConfig(min_clip_s=3.0)
