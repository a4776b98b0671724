import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import corpus
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avl_tf import dataset, evaluation, losses, runs, training
from avl_tf.audio import AudioConfig
from avl_tf.dataset import ClipConfig
from avl_tf.records import FeatureSpec
from avl_tf.training import StageConfig

ROOT = pathlib.Path(__file__).parent.parent
CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=8, shuffle_clips=64)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    train = corpus.make_set(str(folder / "train"), n_recordings=16)
    evaluation_set = corpus.make_set(str(folder / "evaluation"), seed=1)
    return train, evaluation_set


def _stage(sets, **changes):
    stage = StageConfig(
        records=sets[0],
        evaluate=(f"x={sets[1]}",),
        epochs=2,
        batch_size=32,
        evaluation_clip_s=2.0,
    )
    return dataclasses.replace(stage, **changes)


def _train(run_dir, stage, clips=CLIPS, init_from=None, **model_changes):
    base = training.base_model_config(stage, init_from)
    if not init_from:
        small = {
            "audio_widths": (16, 16, 32),
            "embedding_dim": 32,
            "visual_scale": 20.0,
        }
        base = dataclasses.replace(base, **small)
    model = dataclasses.replace(base, **model_changes)
    return training.train_stage(str(run_dir), stage, clips, model, init_from)


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run") / "parent"
    return run_dir, _train(run_dir, _stage(sets, epochs=12, evaluate_every=4))


def test_a_stage_learns_and_writes_its_run_directory(trained):
    run_dir, result = trained
    history = result["history"]
    assert [entry["epoch"] for entry in history] == [0, 4, 8, 12]
    first, last = history[0]["sets"]["x"], history[-1]["sets"]["x"]
    assert last["n"] == 32
    for direction in ("a2v", "v2a"):
        assert last[f"{direction}/R@5"] > 2 * 100 * 5 / 32 > first[f"{direction}/R@5"]
    assert json.loads((run_dir / "recall.json").read_text()) == result
    assert "--learning_rate=0.001" in (run_dir / "flags.txt").read_text()


def test_evaluating_the_run_again_gives_its_recall(trained, sets):
    run_dir, result = trained
    model, info = runs.load_model(str(run_dir))
    records = evaluation.parse_sets([f"x={sets[1]}"])["x"]
    runs.check_records(info, records, str(run_dir))
    embed = evaluation.embed_function(model)
    found = evaluation.evaluate_set(embed, records, 2.0, 7, "stored")
    assert found == result["history"][-1]["sets"]["x"]


def test_tensorboard_holds_the_curves_in_one_chart_a_set(trained):
    run_dir, result = trained
    events = EventAccumulator(str(run_dir / "tensorboard"), {"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"train/loss", "train/learning_rate", "flags/text_summary"} <= {
        *tags,
        *(f"{tag}/text_summary" for tag in tags),
    }
    curve = events.Tensors("recall/x/a2v/R@5")
    expected = [
        (entry["step"], entry["sets"]["x"]["a2v/R@5"]) for entry in result["history"]
    ]
    found = [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in curve]
    assert found == [(s, pytest.approx(v)) for s, v in expected]
    layout = tf.make_ndarray(
        events.Tensors("custom_scalars__config__")[0].tensor_proto
    ).item()
    assert b"^recall/x/(a2v|v2a)/R@(1|5|10)$" in layout


def test_a_finished_run_is_not_trained_again(trained, sets):
    run_dir, result = trained
    before = {p: p.stat().st_mtime_ns for p in (run_dir / "checkpoints").iterdir()}
    stage = _stage(sets, epochs=12, evaluate_every=4)
    assert _train(run_dir, stage) == result
    after = {p: p.stat().st_mtime_ns for p in (run_dir / "checkpoints").iterdir()}
    assert after == before


def test_a_stopped_run_goes_on_to_the_same_weights(sets, tmp_path, monkeypatch):
    stage = _stage(sets, epochs=3)
    whole = _train(tmp_path / "whole", stage)
    real_brief, n_evaluations = training.brief, []

    def stop_at_the_third(values):
        n_evaluations.append(1)
        if len(n_evaluations) == 3:
            raise KeyboardInterrupt
        return real_brief(values)

    monkeypatch.setattr(training, "brief", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "stopped", stage)
    assert _train(tmp_path / "stopped", stage) == whole
    models = [runs.load_model(str(tmp_path / name))[0] for name in ("whole", "stopped")]
    weights = [model.get_weights() for model in models]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_child_starts_from_its_parents_weights_and_model(trained, sets, tmp_path):
    run_dir, result = trained
    child = _train(tmp_path / "child", _stage(sets, epochs=0), init_from=str(run_dir))
    assert child["history"][0]["sets"] == result["history"][-1]["sets"]
    info = runs.read_info(str(tmp_path / "child"))
    assert info.parent == str(run_dir)
    assert info.model == runs.read_info(str(run_dir)).model


def test_a_warm_start_across_references_warns(trained, tmp_path, caplog):
    path = corpus.make_set(str(tmp_path / "d"), log_mel_reference="clip")
    stage = StageConfig(records=path, epochs=0, batch_size=32)
    _train(tmp_path / "child", stage, init_from=str(trained[0]))
    assert "relative to the recording" in caplog.text


def test_another_model_than_the_parents_is_an_error(trained, sets, tmp_path):
    with pytest.raises(ValueError, match="--embedding_dim=32, this stage asks for 64"):
        _train(
            tmp_path / "child",
            _stage(sets),
            init_from=str(trained[0]),
            embedding_dim=64,
        )
    assert not (tmp_path / "child").exists()


def test_a_run_directory_of_other_settings_is_left_alone(trained, sets):
    run_dir, _ = trained
    before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="--epochs=12 then, 5 now"):
        _train(run_dir, _stage(sets, epochs=5, evaluate_every=4))
    with pytest.raises(ValueError, match="--embedding_dim=32 then, 64 now"):
        _train(run_dir, _stage(sets, epochs=12, evaluate_every=4), embedding_dim=64)
    assert before == {
        p: p.stat().st_mtime_ns for p in run_dir.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"audio": AudioConfig(hop_length=80)},
            "audio hop_length is 80, the model's 160",
        ),
        ({"audio": AudioConfig(preemphasis=0.9)}, "audio preemphasis is 0.9"),
        ({"features_2d": FeatureSpec("other", 12, 1.0)}, "other .12., the model's of"),
    ],
)
def test_records_of_other_constants_are_an_error(
    trained, sets, tmp_path, changes, message
):
    path = corpus.make_set(str(tmp_path / "d"), **changes)
    with pytest.raises(ValueError, match=message):
        _train(tmp_path / "child", _stage((path, sets[1])), init_from=str(trained[0]))
    with pytest.raises(ValueError, match=message):
        _train(tmp_path / "run", _stage((sets[0], path)))


def test_a_run_that_is_none_is_an_error(sets, tmp_path):
    with pytest.raises(FileNotFoundError, match="not a run directory"):
        _train(tmp_path / "child", _stage(sets), init_from=str(tmp_path))


@pytest.mark.parametrize(
    ("evaluate", "message"),
    [(("x",), "expected name=records"), (("x=a", "x=b"), "no records")],
)
def test_a_wrong_evaluation_set_is_an_error(sets, tmp_path, evaluate, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _train(tmp_path / "run", _stage(sets, evaluate=evaluate))


def test_an_empty_evaluation_set_is_an_error(sets, tmp_path):
    path = corpus.write_records(str(tmp_path / "none"), [], n_shards=1)
    with pytest.raises(ValueError, match="0 recordings"):
        _train(tmp_path / "run", _stage(sets, evaluate=(f"x={path}",)))
    assert not (tmp_path / "run").exists()


def test_nan_stops_the_run_with_the_step(sets, tmp_path, monkeypatch):
    real = losses.masked_margin_softmax

    def broken(audio, visual, margin):
        return real(audio, visual, margin) * float("nan")

    monkeypatch.setattr(losses, "masked_margin_softmax", broken)
    with pytest.raises(ValueError, match="loss is nan at step 1"):
        _train(tmp_path / "run", _stage(sets))
    model, _ = runs.load_model(str(tmp_path / "run"))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_weights_that_are_not_finite_are_not_saved(sets, tmp_path):
    # One step an epoch: the step that breaks the weights ends with a checkpoint.
    stage = _stage(sets, evaluate=(), batch_size=128, learning_rate=1e30)
    with pytest.raises(ValueError, match="not finite after step 1|loss is nan"):
        _train(tmp_path / "run", stage)
    model, _ = runs.load_model(str(tmp_path / "run"))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_a_lost_history_is_an_error(trained, sets, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "run" / "recall.json").unlink()
    with pytest.raises(ValueError, match="evaluation before the first step is lost"):
        _train(tmp_path / "run", _stage(sets, epochs=12, evaluate_every=4))


def test_a_damaged_checkpoint_is_an_error_that_names_it(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    for data in (tmp_path / "run" / "checkpoints").glob("*.data*"):
        data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ValueError, match="ckpt-48: damaged"):
        runs.load_model(str(tmp_path / "run"))


def test_what_is_wrong_is_found_before_anything_is_written(sets, tmp_path):
    with pytest.raises(ValueError, match="--audio_widths"):
        _train(tmp_path / "run", _stage(sets), audio_widths=(8,))
    assert not (tmp_path / "run").exists()


def test_schedules():
    stage = StageConfig(learning_rate=1.0, epochs=4, learning_rate_decay=0.5)
    rates = [float(training._schedule(stage, 10)(step)) for step in (0, 9, 10, 25)]
    assert rates == [1, 1, 0.5, 0.25]
    stage = StageConfig(learning_rate=1.0, epochs=4, final_learning_rate=0.1)
    rates = [float(training._schedule(stage, 10)(step)) for step in (0, 20, 40)]
    assert rates == pytest.approx([1, 0.55, 0.1])


@pytest.mark.slow
def test_two_replicas_take_the_same_steps_as_one(tmp_path):
    found = []
    for n_devices in (1, 2):
        path = tmp_path / f"{n_devices}.npz"
        script = [sys.executable, "tests/two_replicas.py", str(n_devices), str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(script, cwd=ROOT, env=environment, check=True)
        found.append(np.load(path))
    one, two = found
    for name in ("sgd/losses", "adam/losses"):
        assert one[name] == pytest.approx(two[name], rel=1e-5)
        assert one[name][0] != one[name][1]
    # Adam turns the sign of a gradient that is nearly zero into a whole step.
    for name in one.files:
        if name.startswith("sgd"):
            assert np.abs(one[name] - two[name]).max() < 1e-5, name


def test_clips_are_dealt_in_order_whatever_the_replicas(sets):
    opened = training._open_training_records(_stage(sets))
    strategy = training._strategy()
    dealt = training._distribute(strategy, opened, CLIPS, _stage(sets), 0)
    first = next(iter(dealt))["clip_id"]
    plain = next(iter(dataset.train_batches(opened, CLIPS, 32, 0)))["clip_id"]
    parts = strategy.experimental_local_results(first)
    assert np.array_equal(np.concatenate(parts), plain)
