"""Codebooks in training: steps, warm starts, resuming, exports."""

import dataclasses

import corpus
import keras
import numpy as np
import pytest
import tensorflow as tf
from interrupted import assert_goes_on_to_the_same_weights

import avl_tf
from avl_tf import runs, serving, training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig, build_model, layers_of, quantizer
from avl_tf.model.quantizer import VectorQuantizer
from avl_tf.settings.stage import StageConfig
from avl_tf.training import devices, steps

CONFIG = ModelConfig(
    (6,),
    audio_widths=(8, 8),
    embedding_dim=8,
    audio_encoder="resdavenet_vq",
    vq_layers=(1, 2),
    codebook_size=6,
)
NAMES = ("vq:quant1", "vq:quant2")


def _batch():
    """Two equal halves, so that statistics of a half are those of the whole."""
    random = np.random.default_rng(0)
    half = {
        "log_mel": random.uniform(-80, 0, (4, 96, 40)).astype(np.float32),
        "n_frames": np.array([96, 80, 96, 17], np.int32),
        "visual": random.uniform(0, 1, (4, 6)).astype(np.float32),
    }
    return {k: tf.constant(np.concatenate([v, v])) for k, v in half.items()}


def _begin(config=CONFIG, frozen=(), **changes):
    stage = StageConfig(batch_size=8, **changes)

    def make_model(mixed_precision):
        keras.utils.set_random_seed(0)
        return build_model(config, True, mixed_precision, frozen=frozen)

    strategy = devices.strategy()
    with strategy.scope():
        state = steps.TrainState(make_model, stage, frozen)
    return state, steps.train_step(strategy, state, stage, steps_per_epoch=10)


def _codebooks(model):
    return [layer for layer in model.layers if isinstance(layer, VectorQuantizer)]


def test_a_step_learns_codes_as_the_layers_alone_do_and_sums_their_losses():
    config = dataclasses.replace(CONFIG, jitter=0.0)
    keras.utils.set_random_seed(0)
    model, batch = build_model(config), _batch()
    with quantizer.gathered() as rows:
        model(batch, training=True)
    expected = []
    for layer in _codebooks(model):
        loss = float(quantizer.quantization_loss(rows[layer]))
        layer.settle()
        expected.append((loss, layer.get_weights()))
    state, step = _begin(config)
    found = step(batch)
    terms = [float(v) for k, v in found.items() if k.startswith("loss/")]
    assert len(terms) == 3 and float(found["loss"]) == pytest.approx(sum(terms))
    for name, layer, (loss, weights) in zip(
        NAMES, _codebooks(state.trained), expected, strict=True
    ):
        assert float(found[f"loss/{name}"]) == pytest.approx(loss, rel=1e-4)
        n_used = float(found[name.replace("vq:", "perplexity/")])
        assert 1 <= n_used <= config.codebook_size
        for ours, theirs in zip(layer.get_weights(), weights, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_micro_batches_learn_the_codes_of_the_whole_and_jitter_alike():
    batch, found = _batch(), []
    for changes in ({}, {"micro_batch": 4}):
        state, step = _begin(learning_rate=1e-12, **changes)
        measured = [step(batch) for _ in range(2)]
        # The weights stand still: the second step differs by its draws and codes.
        losses = [{k: float(v) for k, v in one.items()} for one in measured]
        found.append((losses, [x.get_weights() for x in _codebooks(state.trained)]))
    (whole, codes), (parts, their_codes) = found
    for one, other in zip(whole, parts, strict=True):
        for name in ("loss", *(f"loss/{k}" for k in NAMES), "perplexity/quant1"):
            assert one[name] == pytest.approx(other[name], rel=1e-4), name
    for one, other in zip(codes, their_codes, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_codebooks_of_languages_are_named_and_those_of_a_frozen_one_stay():
    config = dataclasses.replace(CONFIG, languages=("es", "ro"), vq_layers=(2,))
    batch = _batch()
    of_two = {"visual": batch["visual"]}
    for language in config.languages:
        of_two |= {f"{k}:{language}": batch[k] for k in ("log_mel", "n_frames")}
    state, step = _begin(config, frozen=("audio:es",))
    (still,), (moved,) = (
        [x for x in layers_of(state.trained, f"audio:{k}") if x.name == "quant2"]
        for k in config.languages
    )
    before = still.get_weights(), moved.get_weights()
    found = step(of_two)
    assert [k for k in found if k.startswith("loss/vq")] == ["loss/vq:ro/quant2"]
    assert all(map(np.array_equal, still.get_weights(), before[0]))
    assert not np.array_equal(moved.get_weights()[0], before[1][0])
    shared = dataclasses.replace(config, shared_audio=True)
    _, step = _begin(shared)
    assert float(step(of_two)["loss/vq:quant2"]) > 0


def test_weight_decay_is_added_to_the_gradient_as_pytorch_has_it():
    (plain, step), (decayed, other) = _begin(), _begin(weight_decay=0.1)
    weights = [v.numpy() for v in plain.trained.trainable_variables]
    step(_batch()), other(_batch())
    for weight, a, b in zip(
        weights, plain.optimizer.first, decayed.optimizer.first, strict=True
    ):
        difference = b.numpy() - a.numpy() - 0.01 * weight
        scale = max(np.abs(a).max(), np.abs(weight).max())
        assert np.abs(difference).max() < 1e-4 * scale + 1e-8


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return corpus.make_set(str(tmp_path_factory.mktemp("records")), n_recordings=16)


def _train(run_dir, records, init_from=None, after=lambda entry: None, **changes):
    epochs, seed = changes.pop("epochs", 0), changes.pop("seed", 0)
    stage = StageConfig(records=records, epochs=epochs, batch_size=32, seed=seed)
    clips = ClipConfig(clip_s=2.0, clips_per_recording=4, shuffle_clips=64)
    evaluated = EvaluationConfig((f"x={records}",), evaluation_clip_s=2.0)
    base = training.base_model_config(stage, init_from)
    if not init_from:
        widths = {"audio_widths": (8, 8, 8), "embedding_dim": 8, "codebook_size": 6}
        base = dataclasses.replace(base, **widths)
    model = dataclasses.replace(base, **changes)
    return training.train_stage(
        str(run_dir), stage, clips, evaluated, model, init_from, after
    )


VQ = {"audio_encoder": "resdavenet_vq"}


@pytest.fixture(scope="module")
def stages(records, tmp_path_factory):
    """Without a codebook, and with one from it; each draws values of its own."""
    folder = tmp_path_factory.mktemp("runs")
    _train(folder / "base", records, **VQ, vq_layers=(), seed=1)
    _train(folder / "one", records, str(folder / "base"), vq_layers=(3,), seed=2)
    return folder


def test_a_child_may_have_codebooks_that_its_parent_has_not(
    stages, records, tmp_path, caplog
):
    caplog.set_level("INFO", logger="absl")
    _train(tmp_path / "two", records, str(stages / "one"), vq_layers=(2, 3))
    assert "audio: the codebooks quant2 are new" in caplog.text
    parent, child = (
        {x.name: x for x in runs.load_model(str(run))[0].layers if x.weights}
        for run in (stages / "one", tmp_path / "two")
    )
    for name, layer in parent.items():
        for a, b in zip(layer.get_weights(), child[name].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    codes, sums, counts = child["quant2"].get_weights()
    np.testing.assert_array_equal(codes, sums)
    assert (counts == 1).all() and 0.5 < codes.std() < 1.5


def test_a_parent_without_the_encoder_of_codebooks_will_do(records, tmp_path):
    _train(tmp_path / "plain", records)
    _train(tmp_path / "vq", records, str(tmp_path / "plain"), **VQ)
    assert runs.read_info(str(tmp_path / "vq")).model.codebooks == (3,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vq_layers": (2,)}, "--vq_layers=3, this stage asks for 2"),
        ({"vq_layers": ()}, "--vq_layers=3, this stage asks for none"),
        ({"vq_layers": (2, 3), "codebook_size": 7}, "--codebook_size=6, this stage"),
        ({"audio_encoder": "resdavenet"}, "--audio_encoder=resdavenet_vq, this stage"),
    ],
)
def test_codebooks_that_do_not_fit_are_an_error(
    stages, records, tmp_path, changes, message
):
    with pytest.raises(ValueError, match=message):
        _train(tmp_path / "child", records, str(stages / "one"), **changes)
    assert not (tmp_path / "child").exists()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_codes(records, tmp_path):
    def train(run_dir, after):
        return _train(run_dir, records, None, after, epochs=2, **VQ, vq_layers=(1, 2))

    assert_goes_on_to_the_same_weights(train, tmp_path, stop_at=2)


@pytest.mark.slow
def test_an_export_and_its_files_for_phones_embed_as_the_run(stages):
    run = str(stages / "one")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000).astype(np.float32)
    waveform = noise, 16_000
    expected = avl_tf.load(run).embed_audio([waveform])
    np.testing.assert_array_equal(avl_tf.load(run).embed_audio([waveform]), expected)
    path = serving.export(run, tflite=True)
    found = avl_tf.load(path).embed_audio([waveform])
    np.testing.assert_allclose(found, expected, atol=1e-5)
