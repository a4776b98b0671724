"""Numbers that are not finite, and who is blamed for them."""

import dataclasses
import math

import corpus
import numpy as np
import pytest
import tensorflow as tf
from half_precision import refused

from avl_tf import evaluation, runs, training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.settings.stage import StageConfig
from avl_tf.training import divergence

CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=8)


def _not_finite(value, field):
    """Encodes as a writer would that checks nothing."""

    def encode(record, storage):
        array = getattr(record, field).copy()
        whole = corpus.records.encode(record, storage)
        sound, array[5] = array.tobytes(), value
        assert whole.count(sound) == 1
        return whole.replace(sound, array.tobytes())

    return encode


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    return (
        corpus.make_set(str(folder / "train"), n_recordings=16),
        corpus.make_set(str(folder / "evaluation"), seed=1),
    )


def _train(run_dir, sets, evaluated=False, init_from=None, visual_scale=20.0, **stage):
    config = StageConfig(records=sets[0], batch_size=32, epochs=4)
    config = dataclasses.replace(config, **stage)
    evaluate = (f"x={sets[1]}",) if evaluated else ()
    base = training.base_model_config(config, init_from)
    if not init_from:
        base = dataclasses.replace(
            base, audio_widths=(8, 8, 16), embedding_dim=16, visual_scale=visual_scale
        )
    return training.train_stage(
        str(run_dir), config, CLIPS, EvaluationConfig(evaluate, 2.0), base, init_from
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e6},
        # An epoch is a step: the evaluation is the first that sees it.
        {"learning_rate": 1e6, "batch_size": 128, "evaluated": True},
        {"learning_rate": 1e30, "batch_size": 128},
        pytest.param(
            {"learning_rate": 1e9, "mixed_precision": "float16", "clip_norm": 1.0},
            marks=refused("float16"),
        ),
    ],
)
def test_a_training_that_diverges_blames_the_learning_rate(sets, tmp_path, changes):
    with pytest.raises(ValueError) as error:
        _train(tmp_path / "run", sets, **changes)
    text = str(error.value)
    assert f"a lower --learning_rate (it is {changes['learning_rate']:g})" in text
    assert "read is finite" in text and "has diverged" in text
    assert "NaN" not in text and "\n" not in text
    assert ("--clip_norm" in text) == ("clip_norm" not in changes)
    assert ("65504" in text) == ("mixed_precision" in changes)
    assert text.index("--learning_rate") < text.index("--warmup_steps")


@pytest.mark.parametrize("evaluated", [False, True])
def test_before_the_first_step_no_learning_rate_is_to_blame(sets, tmp_path, evaluated):
    with pytest.raises(ValueError, match="a smaller --visual_scale") as error:
        _train(tmp_path / "run", sets, evaluated, visual_scale=3e38)
    assert "learning_rate" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [("features_2d", math.nan), ("log_mel", math.inf)]
)
def test_records_that_are_not_finite_are_blamed_themselves(tmp_path, field, value):
    made = [corpus.make_record(f"r{n}") for n in range(16)]
    bad = corpus.write_records(
        str(tmp_path / "bad"), made, encode=_not_finite(value, field)
    )
    with pytest.raises(ValueError, match=f"{field} holds a NaN") as error:
        _train(tmp_path / "run", (bad, bad), learning_rate=1e-9)
    assert "learning_rate" not in str(error.value)


def test_a_parent_that_is_not_finite_is_told_before_a_step(sets, tmp_path):
    _train(tmp_path / "parent", sets, epochs=0)
    model, _ = runs.load_model(str(tmp_path / "parent"))
    weights = model.get_weights()
    weights[-1] = np.full_like(weights[-1], np.nan)
    model.set_weights(weights)
    prefix = runs.checkpoint_prefix(str(tmp_path / "parent"))
    tf.train.Checkpoint(model=model).save(f"{prefix}/ckpt")
    with pytest.raises(ValueError, match="parent: a weight in it is a NaN"):
        _train(tmp_path / "child", sets, init_from=str(tmp_path / "parent"))
    assert not (tmp_path / "child" / "run.json").exists()
    embed = evaluation.embed_function(model)
    records = evaluation.parse_sets([f"x={sets[1]}"])["x"]
    with pytest.raises(ValueError, match="though what the model read is. Its weights"):
        evaluation.rank_set(embed, records, EvaluationConfig(evaluation_clip_s=2.0))


def test_a_clip_that_is_not_finite_is_told_from_weights_that_are_not():
    batch = {"clip_id": tf.constant(["a", "b"]), "visual": tf.constant([[0.0], [1]])}

    def embed(batch):
        return {"visual": batch["visual"] / (batch["visual"] - 1)}

    with pytest.raises(evaluation.NotFiniteError, match="clip b: .* what the model"):
        evaluation.embed_all(embed, [batch])
    batch["visual"] = tf.constant([[0.0], [math.inf]])
    with pytest.raises(evaluation.NotFiniteError, match="the visual of clip b"):
        evaluation.embed_all(embed, [batch])


def test_every_replicas_share_is_looked_at():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    share = {"clip_id": tf.constant(["a", "b"]), "log_mel": tf.constant([[0.0], [1]])}
    bad = {**share, "log_mel": tf.constant([[0.0], [math.nan]])}
    for batch, of_inputs in ((share, False), (bad, True)):
        error = divergence.blame("r", "x", StageConfig(), 1, strategy, batch)
        assert ("so is the log_mel of clip b" in str(error)) == of_inputs
