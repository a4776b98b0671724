"""Codebooks against the authors' own outputs (tests/data/README.md has their text)."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import release
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, build_model, heads, quantizer
from avl_tf.model.quantizer import TemporalJitter, VectorQuantizer

GOLDEN = dict(np.load(pathlib.Path(__file__).parent / "data/vq.npz"))
TOWER = ModelConfig(
    (6,),
    audio_widths=(12, 12, 16, 20, 24),
    embedding_dim=8,
    audio_encoder="resdavenet_vq",
    vq_layers=(2, 3),
    codebook_size=16,
    jitter=0.0,
)


def _layer(name):
    """A golden quantiser, and its batches as [1, 1, N, D] with their lengths."""
    g = {k.removeprefix(f"{name}/"): v for k, v in GOLDEN.items() if k.startswith(name)}
    constants = (float(g[k]) for k in ("commitment_cost", "decay", "epsilon"))
    layer = VectorQuantizer(len(g["embedding"]), *constants)
    batches = [tf.constant(one[np.newaxis, np.newaxis]) for one in g["input"]]
    n_frames = tf.constant([batches[0].shape[2]])
    # A frame of log-mel for each: the ratio is 1.
    others = n_frames, tf.zeros([1, batches[0].shape[2], 1])
    layer(batches[0], *others)
    for weight in ("embedding", "ema_w", "ema_cluster_size"):
        getattr(layer, weight).assign(g[weight])
    return g, layer, batches, others


@pytest.mark.parametrize("name", ["quantizer", "quantizer_fast"])
def test_a_quantiser_is_the_authors_in_evaluation_and_over_three_updates(name):
    g, layer, batches, others = _layer(f"{name}")
    codes = layer.codes(batches[0]).numpy()[0, 0]
    np.testing.assert_array_equal(codes, g["eval/indices"])
    found = layer(batches[0], *others).numpy()[0, 0]
    np.testing.assert_array_equal(found, g["embedding"][codes])
    np.testing.assert_allclose(found, g["eval/quantized"], atol=1e-6)
    counts = tf.constant(np.bincount(codes, minlength=layer.n_codes), tf.float32)
    used = float(quantizer.perplexity(counts))
    assert used == pytest.approx(float(g["eval/perplexity"]), rel=1e-5)
    for k, batch in enumerate(batches, 1):
        indices = layer.codes(batch).numpy()[0, 0]
        with tf.GradientTape() as tape, quantizer.gathered() as rows:
            tape.watch(batch)
            quantized = layer(batch, *others, training=True)
            loss = quantizer.quantization_loss(rows[layer])
            total = tf.reduce_sum(quantized[0, 0] * g["train/upstream"]) + loss
        np.testing.assert_array_equal(indices, g[f"train/indices{k}"])
        np.testing.assert_allclose(quantized[0, 0], g[f"train/quantized{k}"], atol=1e-5)
        assert float(loss) == pytest.approx(float(g[f"train/loss_mean{k}"]), rel=1e-5)
        if k == 1:
            gradient = tape.gradient(total, batch)[0, 0]
            np.testing.assert_allclose(gradient, g["train/grad_input1"], atol=1e-6)
        layer.settle()
        for weight in ("embedding", "ema_w", "ema_cluster_size"):
            value = getattr(layer, weight).numpy()
            np.testing.assert_allclose(value, g[f"after{k}/{weight}"], rtol=1e-5)


def test_frames_behind_the_end_are_quantised_but_not_learnt_from():
    g, layer, batches, _ = _layer("quantizer")
    two = tf.concat([batches[0], batches[1]], axis=0)
    n = two.shape[2]
    log_mel = tf.zeros([2, 2 * n, 1])  # two frames a step

    def learnt(values, lengths):
        for weight in ("embedding", "ema_w", "ema_cluster_size"):
            getattr(layer, weight).assign(g[weight])
        with quantizer.gathered() as rows:
            layer(values, tf.constant(lengths), log_mel, training=True)
        return rows[layer].numpy(), layer.ema_w.numpy(), layer.ema_cluster_size.numpy()

    rows, sums, counts = learnt(two, [21, 1])  # 10 steps, and none
    assert rows[:, 1].tolist() == [10, 0] and rows[1, 0] == 0
    assert counts.sum() == pytest.approx(0.99 * 10 + 0.01 * 10, rel=1e-5)
    changed = tf.concat([two[:, :, :10], 9 - two[:, :, 10:]], axis=2)
    again = learnt(changed, [21, 1])
    np.testing.assert_array_equal(again[0], rows)
    np.testing.assert_array_equal(again[1], sums)
    assert not np.allclose(learnt(changed, [40, 40])[1], sums)


def test_a_frozen_quantiser_is_as_in_evaluation():
    _, layer, batches, others = _layer("quantizer")
    layer.trainable = False
    before = layer.get_weights()
    with quantizer.gathered() as rows:
        found = layer(batches[1], *others, training=True)
    np.testing.assert_array_equal(found, layer(batches[1], *others))
    assert not rows
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_jitter_moves_the_map_as_the_authors_code_or_does_not_as_the_paper():
    # [B, C, 1, T] there.
    ours = tf.constant(GOLDEN["jitter/input"].transpose(0, 2, 3, 1))
    draws = GOLDEN["jitter/draws"]
    official = TemporalJitter(0.12)
    found = official.shifted(ours, tf.constant(draws, tf.int32))
    expected = GOLDEN["jitter/output"].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(found, expected)
    paper = TemporalJitter(0.12, "paper")
    found = paper.shifted(ours, tf.constant(draws, tf.int32)).numpy()
    last = ours.shape[2] - 1
    for t, draw in enumerate(draws):
        taken = min(max(t + draw - 1, 0), last)
        np.testing.assert_array_equal(found[:, :, t], ours[:, :, taken])
    np.testing.assert_array_equal(official(ours), ours)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(official(ours, training=True), ours)


@pytest.mark.parametrize(("compat", "moved"), [("official", 1), ("paper", 0)])
def test_jitter_draws_with_the_probabilities_of_the_paper(compat, moved):
    layer = TemporalJitter(0.12, compat)
    layer.seed = lambda: tf.constant([3, 4], tf.int64)
    n = 20_000
    ramp = tf.reshape(tf.range(n, dtype=tf.float32), [1, 1, n, 1])
    found = layer(ramp, training=True).numpy().ravel() - np.arange(n)
    shares = [np.mean(found == moved + by) for by in (-1, 0, 1)]
    np.testing.assert_allclose(shares, [0.12, 0.76, 0.12], atol=0.01)
    np.testing.assert_array_equal(
        layer(ramp, training=True).numpy().ravel()[:9], (found + np.arange(n))[:9]
    )


def _tower():
    """The narrow tower with the authors' weights, and its local audio features."""
    model = build_model(TOWER, initialize=False)
    variables = {f"{la.name}/{v.name}": v for la in model.layers for v in la.variables}
    weights = {
        k.removeprefix("tower/weights/"): v
        for k, v in GOLDEN.items()
        if k.startswith("tower/weights/")
    }
    places = {
        key.removeprefix("DAVEnet."): (key, place)
        for key, place in release.key_map(TOWER).items()
        if key.startswith("DAVEnet.")
    }
    for key, array in weights.items():
        if key.startswith("quant"):
            layer, _, name = key.removesuffix(".weight").partition("._")
            variables.pop(f"{layer}/{name}").assign(array)
        elif key in places:
            theirs, place = places[key]
            variables.pop(place).assign(release.to_ours(theirs, array))
    # Nothing was left out but heads, which the authors have not.
    assert all(name.startswith(("audio_", "visual_")) for name in variables)
    layers = ("audio_map", "quant2", "quant3")
    outputs = {name: model.get_layer(name).output for name in layers}
    outputs |= {f"{name}_in": model.get_layer(name).input[0] for name in layers[1:]}
    heard = {name: model.input[name] for name in ("log_mel", "n_frames")}
    inputs = {
        "log_mel": tf.constant(GOLDEN["tower/log_mel"].transpose(0, 2, 1)),
        "n_frames": tf.constant(GOLDEN["tower/n_frames"], tf.int32),
    }
    return keras.Model(heard, outputs), inputs


def _valid(values, n_frames, ratio):
    return np.concatenate(
        [row[: n // ratio] for row, n in zip(values, n_frames, strict=True)]
    )


def test_the_narrow_tower_is_the_authors_in_evaluation():
    model, inputs = _tower()
    found = {k: v.numpy() for k, v in model(inputs, training=False).items()}
    expected = GOLDEN["tower/audio_map_eval"].transpose(0, 2, 1)
    np.testing.assert_allclose(found["audio_map"], expected, atol=1e-4)
    for name, ratio in (("quant2", 2), ("quant3", 4)):
        g = {
            k.rpartition("/")[2]: v
            for k, v in GOLDEN.items()
            if k.startswith(f"tower/eval/{name}/")
        }
        before = found[f"{name}_in"]
        np.testing.assert_allclose(before[:, 0], g["input"], atol=1e-4)
        codes = model.get_layer(name).codes(before).numpy()[:, 0]
        np.testing.assert_array_equal(codes, g["indices"])
        quantized = g["quantized"].transpose(0, 2, 1)
        np.testing.assert_allclose(found[name][:, 0], quantized, atol=1e-5)
        valid = _valid(codes, inputs["n_frames"].numpy(), ratio)
        np.testing.assert_array_equal(valid, g["indices_valid"])
    # Both are means over what is valid: MeanPool's, and a dot product.
    pool = heads.MeanPool(mask_in_training=True)
    audio = pool(tf.constant(expected), inputs["n_frames"], inputs["log_mel"])
    images = GOLDEN["tower/image_maps"].mean(axis=(2, 3))
    similarity = images @ audio.numpy().T
    np.testing.assert_allclose(similarity, GOLDEN["tower/similarity_pooldot"], 1e-5)


def test_the_narrow_tower_is_the_authors_in_training():
    model, inputs = _tower()
    quantisers = {name: model.get_layer(name) for name in ("quant2", "quant3")}
    with tf.GradientTape() as tape, quantizer.gathered() as rows:
        found = model(inputs, training=True)
        losses = {
            k: quantizer.quantization_loss(rows[v]) for k, v in quantisers.items()
        }
        upstream = GOLDEN["tower/train/upstream"].transpose(0, 2, 1)
        objective = tf.reduce_mean(found["audio_map"] * upstream)
        objective += tf.add_n(list(losses.values()))
    expected = GOLDEN["tower/train/audio_map"].transpose(0, 2, 1)
    np.testing.assert_allclose(found["audio_map"], expected, atol=1e-4)
    assert float(objective) == pytest.approx(float(GOLDEN["tower/train/objective"]))
    for name, layer in quantisers.items():
        g = {
            k.removeprefix(f"tower/train/{name}/"): v
            for k, v in GOLDEN.items()
            if k.startswith(f"tower/train/{name}/")
        }
        codes = layer.codes(found[f"{name}_in"]).numpy()[:, 0]
        ratio = 2 if name == "quant2" else 4
        valid = _valid(codes, inputs["n_frames"].numpy(), ratio)
        np.testing.assert_array_equal(valid, g["indices_valid"])
        assert float(losses[name]) == pytest.approx(float(g["loss_valid_mean"]))
        layer.settle()
        for weight in ("embedding", "ema_w", "ema_cluster_size"):
            value = getattr(layer, weight).numpy()
            np.testing.assert_allclose(value, g[f"after1/{weight}"], rtol=1e-4)
    places = {
        "conv1.weight": ("conv1", 0),
        "bn1.weight": ("bn1", 0),
        "layer1.0.conv1.weight": ("layer1_0_conv1", 0),
        "layer2.1.bn2.bias": ("layer2_1_bn2", 1),
        "layer3.0.downsample.0.weight": ("layer3_0_downsample_conv", 0),
        "layer4.1.conv2.weight": ("layer4_1_conv2", 0),
    }
    variables = [model.get_layer(n).trainable_variables[i] for n, i in places.values()]
    gradients = tape.gradient(objective, [variable.value for variable in variables])
    for key, gradient in zip(places, gradients, strict=True):
        expected = release.to_ours(f"DAVEnet.{key}", GOLDEN[f"tower/train/grad/{key}"])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, atol=1e-4 * scale)


@pytest.mark.parametrize("layers", [(2, 2), (0,), (6,)])
def test_a_codebook_where_there_is_no_layer_is_an_error(layers):
    config = ModelConfig(
        (6,), audio_widths=(8,) * 5, audio_encoder="resdavenet_vq", vq_layers=layers
    )
    with pytest.raises(UserError, match="--vq_layers=.* from 1, behind the first"):
        build_model(config)


def test_codebooks_without_their_encoder_are_an_error():
    config = ModelConfig((6,), audio_widths=(8, 8), vq_layers=(1,))
    with pytest.raises(UserError, match="needs --audio_encoder=resdavenet_vq"):
        build_model(config)


def test_a_model_with_codebooks_cannot_go_back_to_the_authors_avlnet():
    with pytest.raises(UserError, match="--audio_encoder=resdavenet_vq cannot go back"):
        release.to_state(build_model(TOWER, initialize=False), TOWER)
