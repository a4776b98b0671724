import numpy as np
import pytest
import tensorflow as tf
from half_precision import refused

from avl_tf.model import audio_encoders
from avl_tf.model import minimal_filtering as filtering


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("n_steps", [1, 3, 8, 9, 10, 63, 64])
def test_outputs_and_gradients_are_the_direct_convolutions(n_steps, stride):
    random = np.random.default_rng(n_steps)
    n_steps += 8 * (stride - 1)  # the margin is the inputs' own with stride 2
    inputs = tf.constant(random.normal(size=(3, 1, n_steps, 24)), tf.float32)
    kernel = tf.constant(random.normal(size=(1, 9, 24, 16)), tf.float32)
    ours, padding = {
        1: (filtering.convolve, "SAME"),
        2: (filtering.convolve_by_two, "VALID"),
    }[stride]

    def direct(x, w):
        return tf.nn.conv2d(x, w, [1, 1, stride, 1], padding)

    shape = direct(inputs, kernel).shape
    towards = tf.constant(random.normal(size=shape), tf.float32)

    def compute(convolve):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = convolve(inputs, kernel)
        return outputs, *tape.gradient(outputs, [inputs, kernel], towards)

    for one, other in zip(compute(ours), compute(direct), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()


@pytest.mark.parametrize(
    "form",
    [filtering.NINE_TAPS, filtering.FIVE_PAIRS, filtering.toom_cook(2, 3, (0, 1, -1))],
)
def test_a_form_filters_in_exact_arithmetic(form):
    n_outputs, n_taps = len(form.to_outputs), form.of_taps.shape[1]
    random = np.random.default_rng(0)
    inputs = random.normal(size=n_outputs + n_taps - 1)
    taps = random.normal(size=n_taps)
    found = form.to_outputs @ ((form.of_inputs @ inputs) * (form.of_taps @ taps))
    np.testing.assert_allclose(found, np.correlate(inputs, taps), rtol=1e-10)


@pytest.mark.parametrize(
    ("asked", "width", "stride", "padding", "is_filtered"),
    [
        (True, 256, 1, "same", True),
        (True, 256, 2, "valid", True),
        (True, 256, 2, "same", False),
        (True, 128, 1, "same", False),
        (False, 256, 1, "same", False),
    ],
)
def test_only_wide_layers_are_filtered(
    monkeypatch, asked, width, stride, padding, is_filtered
):
    calls = []
    for name in ("convolve", "convolve_by_two"):
        real = getattr(filtering, name)
        monkeypatch.setattr(
            filtering, name, lambda *a, real=real: calls.append(1) or real(*a)
        )
    layer = audio_encoders.TimeConv(
        width,
        (1, 9),
        strides=(1, stride),
        padding=padding,
        use_bias=False,
        minimal_filtering=asked,
    )
    inputs = tf.random.stateless_normal([2, 1, 13, 128], [0, 0])
    outputs = layer(inputs)
    kernel = layer.kernel.value
    expected = tf.nn.conv2d(inputs, kernel, [1, 1, stride, 1], padding.upper())
    assert np.abs(outputs - expected).max() < 1e-5 * np.abs(expected).max()
    assert bool(calls) == is_filtered


@refused("float16")
def test_half_precision_is_not_filtered(monkeypatch):
    monkeypatch.setattr(filtering, "convolve", None)
    layer = audio_encoders.TimeConv(
        512,
        (1, 9),
        padding="same",
        use_bias=False,
        dtype="mixed_float16",
        minimal_filtering=True,
    )
    assert layer(tf.zeros([1, 1, 5, 512])).dtype == tf.float16
