import numpy as np
import pytest
import tensorflow as tf

from avl_tf.model import audio_encoders, minimal_filtering


@pytest.mark.parametrize("n_steps", [1, 3, 4, 9, 63, 64])
def test_outputs_and_gradients_are_the_direct_convolutions(n_steps):
    random = np.random.default_rng(n_steps)
    inputs = tf.constant(random.normal(size=(3, 1, n_steps, 24)), tf.float32)
    kernel = tf.constant(random.normal(size=(1, 9, 24, 16)), tf.float32)
    towards = tf.constant(random.normal(size=(3, 1, n_steps, 16)), tf.float32)

    def compute(convolve):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = convolve(inputs, kernel)
        return outputs, *tape.gradient(outputs, [inputs, kernel], towards)

    found = compute(minimal_filtering.convolve)
    expected = compute(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"))
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 3e-5 * np.abs(other).max()


@pytest.mark.parametrize(
    ("asked", "width", "strides", "is_filtered"),
    [
        (True, 512, 1, True),
        (True, 256, 1, False),
        (True, 512, 2, False),
        (False, 512, 1, False),
    ],
)
def test_only_wide_layers_of_stride_one_are_filtered(
    monkeypatch, asked, width, strides, is_filtered
):
    calls = []
    real = minimal_filtering.convolve
    monkeypatch.setattr(
        audio_encoders, "convolve", lambda *args: calls.append(1) or real(*args)
    )
    layer = audio_encoders.TimeConv(
        width,
        (1, 9),
        strides=(1, strides),
        padding="same",
        use_bias=False,
        minimal_filtering=asked,
    )
    inputs = tf.random.stateless_normal([2, 1, 13, 512], [0, 0])
    outputs = layer(inputs)
    expected = tf.nn.conv2d(inputs, layer.kernel.value, [1, 1, strides, 1], "SAME")
    assert np.abs(outputs - expected).max() < 3e-5 * np.abs(expected).max()
    assert bool(calls) == is_filtered


def test_half_precision_is_not_filtered(monkeypatch):
    monkeypatch.setattr(audio_encoders, "convolve", None)
    layer = audio_encoders.TimeConv(
        512,
        (1, 9),
        padding="same",
        use_bias=False,
        dtype="mixed_bfloat16",
        minimal_filtering=True,
    )
    assert layer(tf.zeros([1, 1, 5, 512])).dtype == tf.bfloat16
