"""Shards dealt to workers by file."""

import dataclasses
import pathlib

import corpus
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import dataset, files, records
from avl_tf.dataset import ClipConfig, dealing
from avl_tf.records import record_index

CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=4)


def _read_by_worker(opened, clips, batch_size, n_batches, worker, first_step=0):
    batches = dataset.train_batches(opened, clips, batch_size, 0, first_step, worker)
    ids = [batch["clip_id"].numpy() for batch in batches.take(n_batches)]
    return [clip_id.decode() for clip_id in np.concatenate(ids)]


def _recordings(ids):
    return {clip_id.split("@")[0] for clip_id in ids}


def _shards_of(opened):
    """Recording -> shard."""
    return {e.recording_id: e.shard for e in record_index.list_records(opened)}


def test_workers_read_shards_of_their_own_dealt_anew_each_epoch(tmp_path):
    opened = records.open_records(corpus.make_set(str(tmp_path), 12, n_shards=6))
    shard_of, n_steps, deals = _shards_of(opened), 3, set()
    for epoch in range(3):
        shares = []
        for index in range(2):
            ids = _read_by_worker(
                opened, CLIPS, 8, n_steps, (index, 2), epoch * n_steps
            )
            assert len(ids) == 8 * n_steps
            shares.append({shard_of[name] for name in _recordings(ids)})
        assert not shares[0] & shares[1]
        assert len(shares[0] | shares[1]) == 6
        deals.add(frozenset(shares[0]))
    assert len(deals) > 1


def test_a_worker_opens_no_shard_of_another(tmp_path):
    opened = records.open_records(corpus.make_set(str(tmp_path), 8, n_shards=2))
    shard_of = _shards_of(opened)
    ids = _read_by_worker(opened, CLIPS, 8, 2, (0, 2))
    (own,) = {shard_of[name] for name in _recordings(ids)}
    for shard in set(opened.shards) - {own}:
        pathlib.Path(opened.path(shard)).unlink()
    assert _read_by_worker(opened, CLIPS, 8, 2, (0, 2)) == ids


def test_a_worker_with_too_few_clips_goes_round_with_other_windows(tmp_path):
    """Three shards of two recordings for two workers: one has 8 clips for 12."""
    made = [corpus.make_record(f"r{i}", n_seconds=40) for i in range(6)]
    opened = records.open_records(corpus.write_records(str(tmp_path), made, 3))
    assert dataset.steps_per_epoch(opened, CLIPS, 8, n_workers=2) == 3
    shares = [_read_by_worker(opened, CLIPS, 4, 3, (i, 2)) for i in range(2)]
    poor, rich = sorted(shares, key=lambda ids: len(_recordings(ids)))
    assert len(poor) == len(rich) == 12
    assert (len(_recordings(poor)), len(_recordings(rich))) == (2, 3)
    assert not _recordings(poor) & _recordings(rich)
    assert len(set(poor[8:]) & set(poor[:8])) < 4


@pytest.mark.parametrize(("index", "shuffle_clips"), [(0, 0), (1, 16)])
def test_a_later_first_step_of_a_worker_yields_the_tail(tmp_path, shuffle_clips, index):
    opened = records.open_records(corpus.make_set(str(tmp_path), 7, n_shards=3))
    clips = dataclasses.replace(CLIPS, shuffle_clips=shuffle_clips)
    whole = _read_by_worker(opened, clips, 3, 11, (index, 2))
    assert whole == _read_by_worker(opened, clips, 3, 11, (index, 2))
    for first_step in (1, 4, 8):
        tail = _read_by_worker(
            opened, clips, 3, 11 - first_step, (index, 2), first_step
        )
        assert tail == whole[3 * first_step :]


def test_large_and_small_shards_are_dealt_evenly(tmp_path):
    """By clips, not by count: six shards of 1 to 6 clips make 21."""
    folder, shards = str(tmp_path), {}
    for i in range(6):
        made = [corpus.make_record(f"r{i}", clips=(records.Clip(0, 1),) * (i + 1))]
        part = corpus.write_records(folder, made, n_shards=1, split=f"part{i}")
        shards |= records.open_records(part).spec.shards
    opened = records.open_records(part)
    spec = dataclasses.replace(opened.spec, shards=shards)
    files.write_json(f"{folder}/spec.json", spec.to_json())
    opened = records.open_records(folder)
    spans = dealing.Spans(opened, ClipConfig("annotated"))
    shares = [
        [int(tf.reduce_sum(tf.gather(spans.n_clips, own))) for own in dealt]
        for dealt in (
            [spans.deal(tf.constant(seed), index, 3) for index in range(3)]
            for seed in range(20)
        )
    ]
    assert all(sum(clips) == 21 for clips in shares)
    # The fewest so far gets the next: nobody is a whole shard ahead.
    assert max(max(clips) - min(clips) for clips in shares) <= 6
    assert len({tuple(clips) for clips in shares}) > 3


def test_fewer_shards_than_workers_is_an_error_that_says_what_to_do(tmp_path):
    train_set = records.open_records(corpus.make_set(str(tmp_path)))
    with pytest.raises(ValueError, match="2 shards cannot be dealt to 3 workers"):
        dataset.train_batches(train_set, CLIPS, 8, seed=0, worker=(0, 3))
