import pathlib

import numpy as np
import pytest
import tensorflow as tf

from avl_tf import losses

GOLDEN = np.load(pathlib.Path(__file__).parent / "data" / "metrics.npz")


def test_mms_equals_the_authors():
    similarity = GOLDEN["similarity"].astype(np.float32)
    found = losses.mms(similarity, np.eye(64, dtype=np.float32))
    assert float(found) == pytest.approx(float(GOLDEN["mms"]), rel=1e-5)


def test_mms_equals_its_formula():
    random = np.random.default_rng(0)
    audio, visual = random.normal(size=(2, 5, 3))
    similarity = audio @ visual.T
    margin, expected = 0.3, 0.0
    for s in (similarity, similarity.T):
        for i in range(5):
            match = np.exp(s[i, i] - margin)
            others = sum(np.exp(s[i, j]) for j in range(5) if j != i)
            expected -= np.log(match / (match + others)) / 5
    audio, visual = tf.constant(audio), tf.constant(visual)
    found = losses.mms(audio, visual, margin)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_higher_margin_is_a_higher_loss():
    similarity = GOLDEN["similarity"].astype(np.float32)
    identity = np.eye(64, dtype=np.float32)
    values = [float(losses.mms(similarity, identity, m)) for m in (0, 1, 2)]
    assert values == sorted(values) and values[0] < values[2]
