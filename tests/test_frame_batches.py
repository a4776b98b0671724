from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from avl_tf.backbones import Backbone
from avl_tf.extraction.frame_batches import FrameBatches


class Network:
    """Each frame's corner, all those of a feature; notes its batches."""

    def __init__(self, frames_per_feature):
        self.frames_per_feature = frames_per_feature
        self.batches = []

    def __call__(self, frames):
        self.batches.append(len(frames) // self.frames_per_feature)
        if (np.asarray(frames) == 213).any():
            raise tf.errors.InternalError(None, None, "unlucky")
        corners = np.reshape(frames[:, 0, 0, 0], (-1, self.frames_per_feature))
        return tf.constant(corners.astype(np.float32))


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def make(request):
    """Makes FrameBatches, and the list of the batches that its network sees."""
    with ThreadPoolExecutor(request.param) as pool:

        def make(frames_per_feature=1):
            network = Network(frames_per_feature)
            per = frames_per_feature
            backbone = Backbone("fake", per, 1, 4, None, per, "", network)
            return FrameBatches(backbone, pool, request.param), network.batches

        yield make


def frame(value):
    return np.full((4, 4, 3), value, np.uint8)


def rows(batches):
    return np.concatenate(batches.finish()).tolist()


@pytest.mark.parametrize(
    ("n_frames", "sizes"), [(1, [1]), (4, [4]), (7, [4, 3]), (8, [4, 4])]
)
def test_batches_depend_on_the_number_of_frames_alone(make, n_frames, sizes):
    for _ in range(2):
        batches, seen = make()
        for i in range(n_frames):
            batches.put(frame(i))
        assert rows(batches) == [[i] for i in range(n_frames)]
        assert sorted(seen, reverse=True) == sizes


def test_a_feature_of_many_frames_ends_in_black(make):
    batches, seen = make(frames_per_feature=16)
    for i in range(20):
        batches.put(frame(1 + i))
    assert rows(batches) == [
        list(range(1, 17)),
        [17, 18, 19, 20] + [0] * 12,
    ]
    assert seen == [2]


def test_no_frame_makes_no_feature(make):
    batches, seen = make()
    assert batches.finish() == [] and seen == []


def test_what_the_network_raises_is_raised(make):
    batches, _ = make()
    with pytest.raises(tf.errors.InternalError, match="unlucky"):
        for i in range(9):
            batches.put(frame(213 if i == 2 else i))
        batches.finish()
    batches.forget()


def test_few_batches_wait_at_a_time(make):
    batches, seen = make()
    for i in range(40):
        batches.put(frame(i))
        assert len(batches._running) < max(2, batches._n_threads)
    assert rows(batches) == [[i] for i in range(40)] and len(seen) == 10
