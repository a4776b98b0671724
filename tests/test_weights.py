"""Which weights of a run are taken, by all that open one, and what is said of them."""

import dataclasses
import json
import shutil

import corpus
import numpy as np
import pytest
from programs import run

import avl_tf
from avl_tf import reporting, runs, serving, trained, training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.runs import Weights
from avl_tf.settings.stage import StageConfig

CLIPS = ClipConfig(clip_s=2.0, clips_per_recording=8)
SMALL = {"audio_widths": (8, 8, 16), "embedding_dim": 16}


def _train(run_dir, records, init_from=None, **changes):
    stage = StageConfig(records=records, epochs=2, batch_size=32, **changes)
    base = training.base_model_config(stage, init_from)
    evaluated = EvaluationConfig((f"val={records}",), evaluation_clip_s=2.0)
    model = base if init_from else dataclasses.replace(base, **SMALL)
    return training.train_stage(str(run_dir), stage, CLIPS, evaluated, model, init_from)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """last: no metric. best: its first evaluation stands. tied: the last of equals."""
    folder = tmp_path_factory.mktemp("weights")
    records = corpus.make_set(str(folder / "records"))
    _train(folder / "last", records, learning_rate=0.01)
    _train(folder / "tied", records, best_metric="val/R@50", learning_rate=0.01)
    parent = str(folder / "last")
    # A step that unlearns all there is.
    _train(folder / "best", records, parent, best_metric="val/MRR", learning_rate=9.0)
    return folder


def _array(model):
    waveform = np.sin(np.arange(16_000) / 9).astype(np.float32), 16_000
    return model.embed_audio(waveform)


def test_a_metric_that_ties_keeps_the_later_weights(folder):
    _, found = runs.weights.find(str(folder / "tied"))
    assert found == Weights("best", 4, 2, 2, "val/R@50", 32)
    assert str(found) == "epoch 2 of 2 (step 4), the best val/R@50"


def test_best_and_last_are_taken_as_asked_for(folder):
    run_dir = str(folder / "best")
    found = {kind: avl_tf.load(run_dir, weights=kind) for kind in ("", "best", "last")}
    assert found[""].weights == found["best"].weights
    assert found["best"].weights == Weights("best", 0, 0, 2, "val/MRR", 32)
    assert found["last"].weights == Weights("last", 4, 2, 2)
    embedded = {kind: _array(model) for kind, model in found.items()}
    assert np.array_equal(embedded[""], embedded["best"])
    assert not np.allclose(embedded["best"], embedded["last"], rtol=0.1)
    # The parent, unchanged.
    assert np.array_equal(embedded[""], _array(avl_tf.load(str(folder / "last"))))


def test_epoch_0_is_warned_of_wherever_a_model_is_opened(folder, caplog):
    run_dir, parent = str(folder / "best"), folder / "last"
    said = (
        f"{run_dir}: its weights are of epoch 0 (those of {parent}, unchanged): no "
        "later evaluation had as good a val/MRR. --weights=last takes the last ones."
    )
    avl_tf.load(run_dir)
    assert said in caplog.text
    caplog.clear()
    export = serving.export(run_dir)
    assert said in caplog.text
    caplog.clear()
    avl_tf.load(export)
    assert said.replace(run_dir, export, 1) in caplog.text
    caplog.clear()
    for other in ({"weights": "last"}, {}):
        avl_tf.load(run_dir if other else str(parent), **other)
    assert "epoch 0" not in caplog.text


def test_the_end_of_training_says_what_stands_and_run_json_keeps_it(
    folder, tmp_path, caplog
):
    caplog.set_level("INFO", logger="absl")
    records = str(folder / "records" / "train")
    stage = {"learning_rate": 9.0, "patience": 1, "best_metric": "val/a2v/MRR"}
    _train(tmp_path / "none", records, **stage)
    assert f"{tmp_path}/none: its weights are of epoch 0 (untrained): no" in caplog.text
    for path, found in (
        (tmp_path / "none", Weights("best", 0, 0, 1, "val/a2v/MRR", 32)),
        (folder / "best", Weights("best", 0, 0, 2, "val/MRR", 32)),
        (folder / "last", Weights("last", 4, 2, 2)),
    ):
        value = json.loads((path / "run.json").read_text())["weights"]
        assert Weights(**value) == found
    caplog.clear()
    runs.settle(str(folder / "last"))
    assert "last: its weights are of epoch 2 of 2 (step 4), the last" in caplog.text


def test_without_a_step_no_other_weights_are_offered():
    told = runs.weights.warning("r", Weights("best", 0, 0, 0, "val/MRR", 32), None)
    assert told == "r: its weights are of epoch 0 (untrained): it has taken no step."


def test_an_export_holds_the_weights_it_was_asked_for_and_names_them(folder):
    export = serving.export(str(folder / "best"), "last")
    model = avl_tf.load(export)
    assert model.weights == Weights("last", 4, 2, 2)
    last = avl_tf.load(str(folder / "best"), weights="last")
    assert _array(model) == pytest.approx(_array(last), abs=1e-5)
    assert trained.look(export, "last").info.weights == model.weights
    with pytest.raises(ValueError, match="exported with epoch 2 .*--weights=best"):
        trained.look(export, "best")


@pytest.mark.parametrize(
    ("run", "kind", "removed", "message"),
    [
        ("last", "best", (), "without --best_metric, so it keeps no best weights"),
        ("best", "last", ("checkpoints",), "its checkpoints/ are gone"),
        ("best", "first", (), "weights=first: expected one of best, last"),
        ("best", "", ("checkpoints", "best"), "no checkpoint yet"),
    ],
)
def test_weights_that_are_not_there_are_told(
    folder, tmp_path, run, kind, removed, message
):
    shutil.copytree(folder / run, tmp_path / "run")
    for name in removed:
        shutil.rmtree(tmp_path / "run" / name)
    for use in (trained.look, runs.load_model, serving.export):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            use(str(tmp_path / "run"), kind)


def test_best_weights_are_enough_without_the_last(folder, tmp_path):
    shutil.copytree(folder / "best", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert avl_tf.load(str(tmp_path / "run")).weights.kind == "best"


def test_weights_between_evaluations_are_named_by_their_step(folder, tmp_path):
    shutil.copytree(folder / "last", tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("ckpt-4.*"):
        path.rename(path.with_name(path.name.replace("-4.", "-3.")))
    listed = tmp_path / "run" / "checkpoints" / "checkpoint"
    listed.write_text(listed.read_text().replace("ckpt-4", "ckpt-3"))
    _, found = runs.weights.find(str(tmp_path / "run"))
    assert (found.step, found.epoch) == (3, 1)
    (tmp_path / "run" / "recall.json").write_text("{}")
    _, found = runs.weights.find(str(tmp_path / "run"))
    assert str(found) == "step 3, the last"


def test_a_run_json_of_before_names_no_weights(folder, tmp_path):
    shutil.copytree(folder / "last", tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    value = json.loads(path.read_text())
    del value["weights"]
    path.write_text(json.dumps({**value, "format": 2}))
    assert runs.read_info(str(tmp_path / "run")).weights is None
    assert avl_tf.load(str(tmp_path / "run")).weights == Weights("last", 4, 2, 2)


def test_the_report_warns_of_epoch_0_and_of_a_small_set(folder, tmp_path):
    said = ("its weights are of epoch 0 (those of", "val: n = 32 is too small to tell")
    for name, texts in (("best", said), ("last", said[1:])):
        page = reporting.write(str(folder / name), str(tmp_path / name))
        with open(page) as stream:
            text = stream.read()
        assert [each in text for each in said] == [each in texts for each in said]


@pytest.mark.slow
def test_a_cascades_table_warns_of_the_stages_that_stand_at_epoch_0(folder):
    flags = {
        "records": folder / "records" / "train",
        "clip_s": 2,
        "clips_per_recording": 8,
        "batch_size": 32,
        "evaluation_clip_s": 2,
        "epochs": 1,
        "learning_rate": 0.01,
        "visual_scale": 20,
    }
    for name, more in (
        ("first", {"audio_widths": "8,8,16", "embedding_dim": 16, "epochs": 8}),
        ("worse", {"learning_rate": 9, "best_metric": "val/MRR"}),
    ):
        lines = [f"--{flag}={value}\n" for flag, value in (flags | more).items()]
        (folder / f"{name}.flags").write_text("".join(lines))
    done = run(
        "avl_tf.cascade",
        f"--run_dir={folder}/cascade",
        f"--stages=aa={folder}/first.flags,bb={folder}/worse.flags@aa",
        f"--evaluate=val={folder}/records/train",
        "--noexport",
    )
    assert done.returncode == 0, done.stderr
    said = f"bb: its weights are of epoch 0 (those of {folder}/cascade/aa, unchanged)"
    assert said in done.stdout
    assert said in (folder / "cascade" / "cascade.md").read_text()
    assert "aa: its weights" not in done.stdout
