import numpy as np
import pytest
import tensorflow as tf

from avl_tf.backbones import Backbone
from data_prep.frame_queue import Features, FrameQueue


class Network:
    """Each frame's corner, of the first frame of a feature; notes its batches."""

    def __init__(self, frames_per_feature):
        self.frames_per_feature = frames_per_feature
        self.batches = []

    def __call__(self, frames):
        self.batches.append(len(frames) // self.frames_per_feature)
        if (np.asarray(frames) == 213).any():
            raise tf.errors.InternalError(None, None, "unlucky")
        per = self.frames_per_feature
        return tf.constant(
            np.reshape(frames[:, 0, 0, 0], (-1, per)).astype(np.float32), tf.float32
        )


def make_queue(frames_per_feature=1):
    network = Network(frames_per_feature)
    queue = FrameQueue(
        Backbone(
            "fake", frames_per_feature, 1, 4, None, frames_per_feature, "", network
        )
    )
    return queue, network.batches


def frame(value, width=4):
    return np.full((4, width, 3), value, np.uint8)


def values(features):
    return [row[0] for row in features.rows]


def test_frames_of_many_recordings_fill_a_batch():
    queue, batches = make_queue()
    recordings = [Features() for _ in range(5)]
    for i, features in enumerate(recordings):
        for j in range(3):
            queue.put(frame(10 * i + j), features)
        queue.close(features)
    assert batches == [4, 4, 4]
    assert [features.complete for features in recordings] == [True] * 4 + [False]
    queue.flush()
    assert batches == [4, 4, 4, 3]
    for i, features in enumerate(recordings):
        assert features.complete
        assert values(features) == [10 * i + j for j in range(3)]


def test_frames_of_other_sizes_wait_by_themselves():
    queue, batches = make_queue()
    wide, narrow = Features(), Features()
    for i in range(10):
        queue.put(frame(i, width=8), wide)
        queue.put(frame(100 + i), narrow)
    queue.flush()
    assert batches == [4, 4, 4, 4, 2, 2]
    assert values(wide) == list(range(10))
    assert values(narrow) == [100 + i for i in range(10)]


def test_a_single_frame_goes_in_twice():
    queue, batches = make_queue()
    features = Features()
    queue.put(frame(7), features)
    queue.flush()
    assert batches == [2]
    assert values(features) == [7]


def test_a_feature_of_many_frames_ends_in_black():
    queue, batches = make_queue(frames_per_feature=16)
    one, other = Features(), Features()
    for i in range(20):
        queue.put(frame(1 + i), one)
    queue.close(one)
    for _ in range(16):
        queue.put(frame(99), other)
    queue.close(other)
    queue.flush()
    assert batches == [3]
    assert one.rows[1].tolist() == [17, 18, 19, 20] + [0] * 12
    assert other.rows[0].tolist() == [99] * 16 and len(other.rows) == 1


def test_a_recording_that_failed_leaves_the_others_alone():
    queue, batches = make_queue()
    failed, good = Features(), Features()
    queue.put(frame(1), failed)
    queue.put(frame(2), good)
    queue.put(frame(3), failed)
    queue.drop(failed)
    queue.flush()
    assert batches == [2]
    assert values(good) == [2] and not failed.rows


def test_the_frame_that_breaks_a_batch_is_found():
    queue, _ = make_queue()
    bad, good = Features(), Features()
    for i in range(3):
        queue.put(frame(i), good)
    queue.put(frame(213), bad)
    assert good.complete and values(good) == list(range(3))
    assert bad.complete and "unlucky" in str(bad.error)
    assert good.error is None


@pytest.mark.parametrize("n_frames", [0, 3])
def test_nothing_is_complete_before_it_is_computed(n_frames):
    queue, _ = make_queue()
    features = Features()
    for i in range(n_frames):
        queue.put(frame(i), features)
    assert features.complete == (n_frames == 0)
