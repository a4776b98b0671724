import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import environment

from avl_tf import layers, model
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, audio_encoders, audio_steps, heads

SMALL = ModelConfig((12, 5), audio_widths=(16, 16, 24, 32, 48), embedding_dim=64)


def _inputs(n_clips=3, n_frames=320, seed=0):
    random = np.random.default_rng(seed)
    return {
        "log_mel": random.uniform(-80, 0, (n_clips, n_frames, 40)).astype(np.float32),
        "n_frames": np.full(n_clips, n_frames, np.int32),
        "visual": random.uniform(0, 1, (n_clips, 17)).astype(np.float32),
    }


def test_full_size_has_the_releases_parameters():
    built = model.build_model(ModelConfig(visual_dims=(2048, 2048)))
    # facts.md B1 counts 84,531,202 with the two of the unused batchnorm1.
    n_trainable = sum(int(np.prod(w.shape)) for w in built.trainable_weights)
    assert n_trainable == 84_531_200
    two_dimensional = model.build_model(ModelConfig(visual_dims=(2048,)))
    n_2d = sum(int(np.prod(w.shape)) for w in two_dimensional.trainable_weights)
    assert n_trainable - n_2d == 2048 * 4096


@pytest.mark.parametrize("n_frames", [1, 16, 17, 1000, 1024])
def test_the_audio_map_has_a_step_every_sixteen_frames(n_frames):
    log_mel = keras.Input((None, 40))
    audio_map = audio_encoders.resdavenet(log_mel, SMALL.audio_widths, 2)
    built = keras.Model(log_mel, audio_map)
    found = built(tf.zeros([2, n_frames, 40]))
    assert found.shape == (2, -(-n_frames // 16), 48)


def test_strided_convolution_pads_four_and_four():
    x = keras.Input((None, 3))
    whole = keras.Model(x, audio_encoders.resdavenet(x, (3, 2), blocks_per_stage=1))
    padding, conv = (whole.get_layer(f"layer1_0_conv1{end}") for end in ("_pad", ""))
    layer = keras.Model(padding.input, conv.output)
    random = np.random.default_rng(0)
    signal = random.normal(size=(1, 1, 20, 3)).astype(np.float32)
    kernel = random.normal(size=(1, 9, 3, 2)).astype(np.float32)
    layer.set_weights([kernel])
    padded = np.pad(signal[0, 0], ((4, 4), (0, 0)))
    expected = [
        np.einsum("kc,kcd->d", padded[t : t + 9], kernel[0]) for t in range(0, 20, 2)
    ]
    assert np.abs(layer(signal)[0, 0] - expected).max() < 1e-5


def test_batch_norm_keeps_the_unbiased_variance_as_pytorch():
    layer = layers.BatchNorm(momentum=0.9)
    x = np.random.default_rng(0).normal(3, 2, (4, 1, 5, 2)).astype(np.float32)
    flat = x.reshape(-1, 2)
    output = layer(x, training=True)
    normalised = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    assert np.abs(output.numpy().reshape(-1, 2) - normalised).max() < 1e-4
    variance = 0.9 + 0.1 * flat.var(0, ddof=1)
    assert np.abs(layer.moving_variance.numpy() - variance).max() < 1e-5
    assert np.abs(layer.moving_mean.numpy() - 0.1 * flat.mean(0)).max() < 1e-5
    evaluated = (flat - layer.moving_mean.numpy()) / np.sqrt(variance + 1e-5)
    assert np.abs(layer(x).numpy().reshape(-1, 2) - evaluated).max() < 1e-4


def test_batch_norm_trains_outside_of_a_replicas_step_too():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        layer = layers.BatchNorm()
        outputs = layer(tf.constant([[[[1.0], [3.0]]]]), training=True)
    assert outputs.numpy().ravel() == pytest.approx([-1, 1], abs=1e-4)


def test_both_ways_of_batch_norm_agree_far_from_zero_too():
    random = np.random.default_rng(0)
    x = random.normal(300, 2, (4, 1, 50, 3))
    towards = random.normal(size=x.shape)
    found = {}
    for dtype in ("float32", "float64"):  # the fused kernel, and what is written out
        layer = layers.BatchNorm(dtype=dtype)
        given = tf.constant(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(given)
            output = layer(given, training=True)
            loss = tf.reduce_sum(output**2 * towards.astype(dtype))
        gradients = tape.gradient(loss, [given, *layer.trainable_variables])
        running = layer.non_trainable_variables
        found[dtype] = [np.asarray(one) for one in (output, *gradients, *running)]
    for single, double in zip(*found.values(), strict=True):
        scale = np.abs(double).max()
        assert np.abs(single - double).max() < 3e-4 * scale


def test_pooling_is_masked_in_evaluation_and_plain_in_training():
    audio_map = np.arange(12, dtype=np.float32).reshape(2, 6, 1)
    log_mel = np.zeros((2, 96, 40), np.float32)
    n_frames = np.array([33, 3], np.int32)  # two steps, and at least one
    layer = heads.MeanPool(mask_in_training=False)
    assert layer(audio_map, n_frames, log_mel).numpy().ravel().tolist() == [0.5, 6]
    plain = layer(audio_map, n_frames, log_mel, training=True)
    assert plain.numpy().ravel().tolist() == [2.5, 8.5]
    masked = heads.MeanPool(mask_in_training=True)
    found = masked(audio_map, n_frames, log_mel, training=True)
    assert found.numpy().ravel().tolist() == [0.5, 6]
    too_long = layer(audio_map, np.array([999, 96], np.int32), log_mel)
    assert too_long.numpy().ravel().tolist() == [2.5, 8.5]


def test_a_gated_unit_is_equation_one():
    x = keras.Input((3,))
    built = keras.Model(x, heads.gated_unit(x, 4, "g"))
    values = [
        np.random.default_rng(i).normal(size=w.shape)
        for i, w in enumerate(built.weights)
    ]
    built.set_weights(values)
    kernel, bias, gate_kernel, gate_bias = values
    x = np.random.default_rng(9).normal(size=(2, 3))
    h = x @ kernel + bias
    expected = h / (1 + np.exp(-(h @ gate_kernel + gate_bias)))
    assert np.abs(built(x) - expected).max() < 1e-5


def test_heads_without_a_gate_are_their_formulas():
    config = dataclasses.replace(SMALL, embedding_dim=4, head_hidden_dim=5)
    x = np.random.default_rng(0).normal(size=(2, 3))
    for kind, shapes in (
        ("linear", [(3, 4), (4,)]),
        ("nonlinear", [(3, 5), (5,), (5, 4), (4,)]),
    ):
        entry = keras.Input((3,))
        head = keras.Model(entry, heads.projection(entry, config, "audio", kind))
        assert [tuple(one.shape) for one in head.weights] == shapes
        values = [np.random.default_rng(len(s)).normal(size=s) for s in shapes]
        head.set_weights(values)
        expected = x @ values[0] + values[1]
        if kind == "nonlinear":
            expected = np.maximum(expected, 0) @ values[2] + values[3]
        assert np.abs(head(x) - expected).max() < 1e-5


@pytest.mark.parametrize("kind", ["linear", "nonlinear"])
def test_both_branches_take_a_head_without_a_gate(kind):
    config = dataclasses.replace(SMALL, audio_head=kind, visual_head=kind)
    built = model.build_model(config)
    names = {layer.name for layer in built.layers if layer.weights}
    assert not any("gate" in name for name in names)
    assert {"audio_projection", "visual_projection"} <= names
    if kind == "nonlinear":  # as wide as the space if no width is given
        assert built.get_layer("audio_hidden").units == 64
    inputs = _inputs()
    assert built(inputs)["visual_embedding"].shape == (3, 64)
    steps = audio_steps.build(built, "audio")(inputs)
    assert np.ptp(steps["audio_embedding"] - built(inputs)["audio_embedding"]) < 1e-5
    mean = tf.reduce_mean(steps["audio_steps"], axis=1)
    # Of a linear head alone the mean of the steps is the embedding.
    near = np.abs(mean - steps["audio_embedding"]).max() < 1e-4
    assert near == (kind == "linear")


@pytest.mark.parametrize(
    ("head", "widths"),
    [
        ("official", {"audio_gate_gate": 48, "audio_projection": 64}),
        ("paper", {"audio_gate_gate": 64}),
        ("linear", {"audio_projection": 64}),
        ("nonlinear", {"audio_projection": 64}),
    ],
)
def test_the_audio_head_is_in_the_order_asked_for(head, widths):
    built = model.build_model(dataclasses.replace(SMALL, audio_head=head))
    dense = {
        layer.name: layer.units
        for layer in built.layers
        if isinstance(layer, keras.layers.Dense)
        and layer.name in ("audio_gate_gate", "audio_projection")
    }
    assert dense == widths
    output = built(_inputs())
    assert (
        output["audio_embedding"].shape == output["visual_embedding"].shape == (3, 64)
    )


def test_initial_weights_are_the_authors():
    keras.utils.set_random_seed(0)
    built = model.build_model(ModelConfig((64,), embedding_dim=512))
    layers = {layer.name: layer for layer in built.layers}
    for name, fan_out in (("conv1", 40 * 128), ("layer4_1_conv2", 9 * 1024)):
        deviation = np.std(layers[name].kernel)
        assert deviation == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
    for weight in (layers["audio_gate_fc"].kernel, layers["audio_gate_fc"].bias):
        assert np.abs(weight).max() == pytest.approx(1024**-0.5, rel=0.02)
        assert np.std(weight) == pytest.approx(1024**-0.5 / 3**0.5, rel=0.06)


def test_padding_value_decides_what_stands_behind_the_end():
    inputs = _inputs()
    inputs["n_frames"] = np.full(3, 160, np.int32)
    changed = dict(inputs, log_mel=inputs["log_mel"].copy())
    changed["log_mel"][:, 160:] = -33
    for pad_db in (0.0, -80.0):
        built = model.build_model(dataclasses.replace(SMALL, pad_db=pad_db))
        first, second = (built(i)["audio_embedding"] for i in (inputs, changed))
        assert np.array_equal(first, second)


def test_visual_scale_multiplies_the_visual_input():
    plain = model.build_model(SMALL)
    scaled = model.build_model(dataclasses.replace(SMALL, visual_scale=20.0))
    scaled.set_weights(plain.get_weights())
    inputs = _inputs()
    times_20 = dict(inputs, visual=20 * inputs["visual"])
    expected = plain(times_20)["visual_embedding"]
    assert np.abs(scaled(inputs)["visual_embedding"] - expected).max() < 1e-5


def test_branches_share_the_models_weights():
    built = model.build_model(SMALL)
    inputs, output = _inputs(), built(_inputs())
    audio = model.branch(built, "audio")(
        {k: inputs[k] for k in ("log_mel", "n_frames")}
    )
    visual = model.branch(built, "visual")({"visual": inputs["visual"]})
    assert np.array_equal(audio, output["audio_embedding"])
    assert np.array_equal(visual, output["visual_embedding"])


def test_a_configuration_comes_back_from_json_and_strangers_are_refused():
    config = dataclasses.replace(SMALL, visual_scale=2.5)
    value = json.loads(json.dumps(config.to_json()))
    assert ModelConfig.from_json(value, "run.json") == config
    with pytest.raises(ValueError, match="run.json"):
        ModelConfig.from_json({**value, "depth": 3}, "run.json")


def test_a_model_that_sees_nothing_is_an_error():
    with pytest.raises(UserError, match="nothing to see by"):
        model.build_model(dataclasses.replace(SMALL, visual_dims=()))


@pytest.mark.parametrize("widths", [(), (16,), (16, 0)])
def test_too_few_widths_are_an_error(widths):
    with pytest.raises(ValueError, match="--audio_widths"):
        model.build_model(dataclasses.replace(SMALL, audio_widths=widths))


@pytest.mark.parametrize(
    "absurd",
    [
        {"audio_widths": (8192, 8192, 8192), "blocks_per_stage": 64},
        {"embedding_dim": 10**12},
        {"blocks_per_stage": 10**10},
        {"visual_dims": (10**12,)},
    ],
)
def test_a_model_that_no_memory_holds_is_an_error_at_once(absurd):
    with pytest.raises(
        ValueError, match="weights alone .* GB of memory. Lower --audio"
    ):
        model.build_model(dataclasses.replace(SMALL, **absurd))


def test_the_weights_are_counted_from_below():
    for config in (SMALL, dataclasses.replace(SMALL, audio_head="paper")):
        made = model.build_model(config, initialize=False).count_params()
        assert 0.6 * made < model._n_weights(config) <= made


_THREE_CLIPS = """
import numpy as np, tensorflow as tf
from avl_tf.model import ModelConfig, branch, build_model

config = ModelConfig((6,), audio_widths=(8, 8, 16), embedding_dim=8)
tower = branch(build_model(config), "audio")
log_mel = np.random.default_rng(0).uniform(-80, 0, (3, 200, 40)).astype(np.float32)
batch = {"log_mel": log_mel, "n_frames": np.full(3, 200, np.int32)}

@tf.function
def gradients():
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(batch, training=True) ** 2)
    return tape.gradient(loss, [one.value for one in tower.trainable_variables])

for _ in range(100):
    found = gradients()
assert all(np.isfinite(one).all() for one in found)
"""


def test_few_channels_and_an_odd_number_of_clips_are_trained():
    # In a process of its own, which TensorFlow aborted.
    command = [sys.executable, "-c", _THREE_CLIPS]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]
