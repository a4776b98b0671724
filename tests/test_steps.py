import keras
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import losses
from avl_tf.model import ModelConfig, build_model
from avl_tf.settings.stage import StageConfig
from avl_tf.training import devices, optimizers, steps
from avl_tf.training.objective import Objective

CONFIG = ModelConfig((6,), audio_widths=(8, 8), embedding_dim=8)


def _batch():
    random = np.random.default_rng(0)
    return {
        "log_mel": tf.constant(random.uniform(-80, 0, (8, 96, 40)), tf.float32),
        "n_frames": tf.constant([96, 80, 96, 17] * 2),
        "visual": tf.constant(random.uniform(0, 1, (8, 6)), tf.float32),
    }


def _begin(**changes):
    stage = StageConfig(batch_size=8, **changes)

    def make_model(mixed_precision):
        keras.utils.set_random_seed(0)
        return build_model(CONFIG, True, mixed_precision)

    strategy = devices.strategy()
    with strategy.scope():
        state = steps.TrainState(make_model, stage)
    return state, steps.train_step(strategy, state, stage, steps_per_epoch=10)


def _gradients(state):
    """After the first step, the first moments are a tenth of the gradients."""
    return [10 * moment.numpy() for moment in state.optimizer.first]


def test_micro_batches_have_the_gradient_of_the_whole_and_their_mean_statistics():
    batch, parts = _batch(), [slice(0, 4), slice(4, 8)]
    keras.utils.set_random_seed(0)
    model = build_model(CONFIG)
    before = model.get_weights()
    statistics, audio, visual = [], [], []
    with tf.GradientTape() as tape:
        for part in parts:
            output = model({k: v[part] for k, v in batch.items()}, training=True)
            audio.append(output["audio_embedding"])
            visual.append(output["visual_embedding"])
            statistics.append([v.numpy() for v in model.non_trainable_variables])
            for variable, value in zip(model.variables, before, strict=True):
                variable.assign(value)
        loss = losses.mms(tf.concat(audio, 0), tf.concat(visual, 0))
    expected = tape.gradient(loss, model.trainable_variables)

    state, step = _begin(micro_batch=4)
    assert float(step(batch)["loss"]) == pytest.approx(float(loss), rel=1e-5)
    for found, gradient in zip(_gradients(state), expected, strict=True):
        scale = np.abs(gradient).max() + 1e-8
        assert np.abs(found - gradient).max() < 1e-4 * scale
    means = [np.mean(pair, axis=0) for pair in zip(*statistics, strict=True)]
    for variable, mean in zip(
        state.trained.non_trainable_variables, means, strict=True
    ):
        np.testing.assert_allclose(variable.numpy(), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "bce", "bce_negatives": "all"},
        {"loss": "bce"},
        {"loss": "mil_nce", "mil_nce_candidates": 3},
        {"loss": "mil_nce", "mil_nce_candidates": 1},
        {"loss": "max_margin", "hard_negative_rate": 0.7},
    ],
)
def test_micro_batches_of_even_clips_change_no_gradient(changes):
    # Both halves are heard alike, so that batch norm does not tell them apart.
    batch, n = _batch(), changes.get("mil_nce_candidates")
    for name in ("log_mel", "n_frames"):
        value = tf.concat([batch[name][:4]] * 2, axis=0)
        if n:
            value = tf.stack([tf.roll(value, k, axis=0) for k in range(n)], axis=1)
        batch[name] = value
    batch["group"] = tf.constant([1, 1, 1, 2, 3, 3, 4, 5], tf.int64)
    found = []
    for micro_batch in (0, 4):
        state, step = _begin(micro_batch=micro_batch, **changes)
        found.append((float(step(batch)["loss"]), _gradients(state)))
    (whole, gradients), (loss, parts) = found
    assert loss == pytest.approx(whole, rel=1e-5)
    n_learnt = 2 if changes["loss"] == "bce" else 0
    assert len(gradients) == len(state.trained.trainable_variables) + n_learnt
    for one, part in zip(gradients, parts, strict=True):
        assert np.abs(one - part).max() < 1e-3 * np.abs(one).max() + 1e-6


def test_what_bce_learns_moves_down_its_own_slope():
    state, step = _begin(loss="bce", bce_negatives="all", bce_scale=0.5)
    output = state.trained(_batch(), training=True)
    scale, offset = tf.constant(0.5), tf.constant(0.0)
    with tf.GradientTape() as tape:
        tape.watch((scale, offset))
        both = output["audio_embedding"], output["visual_embedding"]
        loss = losses.bce(*both, scale, offset, "all")
    slopes = tape.gradient(loss, (scale, offset))
    state, step = _begin(loss="bce", bce_negatives="all", bce_scale=0.5)
    step(_batch())
    for name, wanted in zip(("scales", "offsets"), slopes, strict=True):
        variable = getattr(state.affine, name)
        place = [one is variable for one in state.learning].index(True)
        assert abs(float(wanted)) > 1e-5
        assert _gradients(state)[place][0] == pytest.approx(float(wanted), rel=1e-2)


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_the_terms_of_an_objective_are_summed_and_measured(monkeypatch, micro_batch):
    class TwoTerms(Objective):
        def __call__(self, embeddings, *others):
            assert set(embeddings) == {"audio", "visual"}
            length = tf.reduce_mean(tf.square(embeddings["audio"]))
            return {**super().__call__(embeddings, *others), "length": 1e4 * length}

    monkeypatch.setattr(steps, "Objective", TwoTerms)
    _, step = _begin(micro_batch=micro_batch, learning_rate=0.01)
    first = step(_batch())
    assert float(first["loss/length"]) > 0
    terms = first["loss/audio-visual"] + first["loss/length"]
    assert float(first["loss"]) == pytest.approx(float(terms))
    for _ in range(5):
        last = step(_batch())
    assert last["loss/length"] < first["loss/length"] / 2


@pytest.mark.parametrize("changes", [{}, {"clip_norm": 1e-3}, {"micro_batch": 4}])
def test_norms_are_those_of_gradient_weights_and_step(changes):
    state, step = _begin(**changes)

    def weights():
        return [v.numpy() for v in state.trained.trainable_variables]

    def length(arrays):
        return np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in arrays))

    unclipped, unclipped_step = _begin(**{**changes, "clip_norm": 0.0})
    unclipped_step(_batch())
    for number in range(3):
        before = weights()
        found = step(_batch(), with_norms=True)
        if not number:
            expected = length(_gradients(unclipped))
            assert float(found["gradient_norm"]) == pytest.approx(expected, rel=1e-4)
        after = weights()
        assert float(found["parameter_norm"]) == pytest.approx(length(after), rel=1e-5)
        taken = length([a - b for a, b in zip(after, before, strict=True)])
        assert float(found["update_norm"]) == pytest.approx(taken, rel=1e-3)
    assert all(np.isnan(step(_batch())[name]) for name in steps.NORMS)


def test_micro_batches_that_do_not_divide_the_batch_are_an_error():
    with pytest.raises(ValueError, match="--micro_batch=3 does not divide the 8 clips"):
        _begin(micro_batch=3)


def test_synchronised_batch_norm_in_micro_batches_is_an_error():
    with pytest.raises(ValueError, match="leave out --jit_compile and --micro_batch"):
        _begin(micro_batch=4, sync_batch_norm=True)


def test_a_long_gradient_is_cut_to_the_norm():
    state, step = _begin()
    step(_batch())
    free = np.sqrt(sum(np.sum(g**2) for g in _gradients(state)))
    state, step = _begin(clip_norm=free / 4)
    step(_batch())
    cut = np.sqrt(sum(np.sum(g**2) for g in _gradients(state)))
    assert cut == pytest.approx(free / 4, rel=1e-4)


def test_the_running_average_is_that_of_the_weights():
    state, step = _begin(ema_decay=0.3)
    state.settle()
    average = state.trained.get_weights()
    for done in range(1, 5):
        step(_batch())
        decay = min(0.3, done / (done + 9))
        average = [
            a * decay + w * (1 - decay)
            for a, w in zip(average, state.trained.get_weights(), strict=True)
        ]
    for found, expected in zip(state.model.get_weights(), average, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_step_with_an_infinite_half_precision_gradient_is_left_out():
    state, step = _begin(mixed_precision="float16", jit_compile=True)
    step(_batch())
    before = [variable.numpy() for variable in state.trained.trainable_variables]
    count, scale = (
        int(state.optimizer.count.numpy()),
        float(state.loss_scale.scale.numpy()),
    )
    batch = _batch()
    batch["visual"] *= 1e4
    assert float(step(batch, with_norms=True)["update_norm"]) == 0
    after = [variable.numpy() for variable in state.trained.trainable_variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert int(state.optimizer.count.numpy()) == count
    assert float(state.loss_scale.scale.numpy()) == scale / 2
    assert int(state.step.numpy()) == 2


def test_the_loss_scale_grows_after_good_steps():
    scale = optimizers.LossScale(initial=8.0, patience=2)
    found = []
    for finite in (True, True, True, False, True, True):
        scale.update(tf.constant(finite))
        found.append(float(scale.scale))
    assert found == [8, 16, 16, 8, 8, 16]
