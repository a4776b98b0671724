"""Stages in which one language learns from another, on records that are joined."""

import dataclasses
import subprocess
import sys

import corpus
import numpy as np
import pytest
import tensorflow as tf
from interrupted import assert_goes_on_to_the_same_weights
from programs import ROOT, environment
from two_replicas import WAYS_OF_CANDIDATES, WAYS_OF_TWO

from avl_tf import runs, training
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.settings.stage import StageConfig

CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=2, shuffle_clips=16)
N_RECORDINGS = 16  # so that a pass is of 32 clips


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("records"), {}
    for language in ("es", "ro"):
        made = []
        for number in range(N_RECORDINGS):
            seen = corpus.make_record(f"i{number}")
            heard = corpus.make_record(f"{language}{number}")
            made.append(
                dataclasses.replace(
                    heard,
                    id=f"{language}/{number}",
                    recording_id=seen.recording_id,
                    features_2d=seen.features_2d,
                )
            )
        path = str(folder / language)
        paths[language] = corpus.write_records(path, made, languages=(language,))
    return ",".join(f"{name}={path}" for name, path in paths.items())


def _train(run_dir, records, after_evaluation=lambda entry: None, **changes):
    stage = StageConfig(records=records, epochs=2, batch_size=8)
    stage = dataclasses.replace(stage, **changes)
    base = training.base_model_config(stage, None)
    model = dataclasses.replace(
        base, audio_widths=(8, 8), embedding_dim=8, visual_scale=20.0
    )
    evaluated = EvaluationConfig(evaluation_clip_s=2.0)
    return training.train_stage(
        str(run_dir), stage, CLIPS, evaluated, model, None, after_evaluation
    )


def _held(run_dir, part="queue/"):
    path = tf.train.latest_checkpoint(str(run_dir / "checkpoints"))
    reader = tf.train.load_checkpoint(path)
    names = [name for name in reader.get_variable_to_shape_map() if part in name]
    return {name: reader.get_tensor(name).tolist() for name in names}


def test_a_run_with_a_half_full_queue_goes_on_to_the_same_bits(records, tmp_path):
    counts = []

    def train(run_dir, after_evaluation):
        held = (
            run_dir.is_dir() and (run_dir / "checkpoints").is_dir() and _held(run_dir)
        )
        counts.append([v for name, v in (held or {}).items() if "count" in name])
        return _train(
            run_dir,
            records,
            after_evaluation,
            loss="infonce",
            nn_queue=32,
            distill_weight=0.5,
            checkpoint_every=2,
        )

    assert_goes_on_to_the_same_weights(train, tmp_path, stop_at=2)
    # It was stopped before the checkpoint of its fourth step.
    assert counts == [[], [], [16]]
    whole, stopped = (_held(tmp_path / name) for name in ("whole", "stopped"))
    assert whole == stopped and len(whole) == 3


@pytest.mark.parametrize("loss", ["triplet", "mms_masked", "mms_scheduled", "bce"])
def test_losses_that_need_more_than_embeddings_are_resumed_alike(
    records, tmp_path, loss
):
    def train(run_dir, after_evaluation):
        return _train(run_dir, records, after_evaluation, loss=loss, checkpoint_every=2)

    assert_goes_on_to_the_same_weights(train, tmp_path, stop_at=2)


def test_a_checkpoint_has_a_queue_only_if_it_is_asked_for(records, tmp_path):
    _train(tmp_path / "run", records, epochs=0)
    assert not _held(tmp_path / "run")
    with pytest.raises(UserError, match="--nn_queue=0 then, 16 now"):
        _train(tmp_path / "run", records, epochs=0, nn_queue=16)


@pytest.mark.parametrize(
    "changes",
    [{"loss": "mms_masked"}, {"loss": "max_margin", "hard_negative_rate": 0.7}],
)
def test_clips_of_one_recording_are_told_apart_by_flag(tmp_path, changes):
    path = corpus.make_set(str(tmp_path / "records"), n_recordings=4)
    _train(tmp_path / "run", path, epochs=1, **changes)
    assert runs.read_info(str(tmp_path / "run")).model.languages == ()


def test_mil_nce_hears_the_windows_beside_a_clip_and_is_resumed_alike(tmp_path):
    path = corpus.make_set(str(tmp_path / "records"), n_recordings=8)

    def train(run_dir, after_evaluation):
        return _train(
            run_dir,
            path,
            after_evaluation,
            loss="mil_nce",
            mil_nce_candidates=3,
            micro_batch=4,
            checkpoint_every=1,
        )

    assert_goes_on_to_the_same_weights(train, tmp_path, stop_at=2)


def test_what_the_loss_learns_is_in_the_checkpoint_and_not_in_the_model(tmp_path):
    path = corpus.make_set(str(tmp_path / "records"), n_recordings=4)
    learnt, n_weights = {}, []
    for loss, changes in (("mms", {}), ("bce", {"bce_scale": 7.0})):
        run_dir = tmp_path / loss
        _train(run_dir, path, epochs=1, loss=loss, learning_rate=0.01, **changes)
        learnt[loss] = _held(run_dir, "affine/")
        n_weights.append(len(runs.load_model(str(run_dir))[0].weights))
    assert not learnt["mms"] and n_weights[0] == n_weights[1]
    first, second = (
        next(v for k, v in learnt["bce"].items() if name in k and "first" not in k)
        for name in ("scales", "offsets")
    )
    assert 6.9 < first[0] < 7.1 and first[0] != 7 and second[0] != 0


@pytest.mark.parametrize("sampling", ["whole", "annotated"])
def test_mil_nce_is_for_random_windows(tmp_path, sampling):
    path = corpus.make_set(str(tmp_path / "records"), n_recordings=4)
    stage = StageConfig(records=path, batch_size=4, loss="mil_nce")
    model = training.base_model_config(stage, None)
    with pytest.raises(UserError, match=f"--clip_sampling={sampling}: --loss=mil_nce"):
        training.train_stage(
            str(tmp_path / "run"),
            stage,
            ClipConfig(sampling, 2.0),
            EvaluationConfig(),
            model,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nn_queue": 33}, "--nn_queue=33 is larger than the 32 clips of a pass"),
        ({"terms": ("audio:1-audio:3",)}, "'audio:3' is no branch of this model"),
        ({"loss": "infonce", "margin": 1.0}, "--loss=infonce has no margin"),
        ({"loss": "mil_nce"}, "--loss=mil_nce is for one language"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    records, tmp_path, changes, said
):
    with pytest.raises(UserError, match=said):
        _train(tmp_path / "run", records, **changes)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """What tests/two_replicas.py finds of two languages on one and on two CPUs."""
    folder, found = tmp_path_factory.mktemp("replicas"), []
    for n_devices in (1, 2):
        path = folder / f"{n_devices}.npz"
        script = ROOT / "tests" / "two_replicas.py"
        command = [sys.executable, str(script), str(n_devices), str(path), "languages"]
        subprocess.run(command, env=environment(), check=True)
        found.append(dict(np.load(path)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("way", [*WAYS_OF_TWO, *WAYS_OF_CANDIDATES])
def test_two_replicas_take_the_same_steps_as_one(replicas, way):
    one, two = replicas
    # Measured: losses to 7.6e-8, gradients to 1.4e-5. Of max_margin some gradients are
    # 0 but for rounding, of which Adam makes steps: later losses are 4.1e-5 apart.
    losses = [found[f"{way}/losses"] for found in replicas]
    of_margins = way.startswith("max_margin")
    rounding = 2e-4 if of_margins else 1e-6
    assert losses[0] == pytest.approx(losses[1], rel=rounding)
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    assert len(set(losses[0])) == 3
    names = [name for name in one if name.startswith(f"{way}/gradient")]
    assert names
    for name in names:
        scale = np.abs(one[name]).max() + (1e-3 if of_margins else 1e-8)
        assert np.abs(one[name] - two[name]).max() < 5e-5 * scale, name
