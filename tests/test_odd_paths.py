"""Names that TensorFlow takes for patterns, and others one would not choose."""

import dataclasses
import os
import pathlib

import corpus
import numpy as np
import pytest
import tensorflow as tf
from programs import fails_in_one_line, run, run_afresh

import avl_tf
from avl_tf import (
    backbones,
    checkpoint_files,
    files,
    records,
    runs,
    serving,
    trained,
    training,
)
from avl_tf.audio import AudioConfig
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.records import RecordsSpec
from avl_tf.serving import versions
from avl_tf.settings import to_flagfile
from avl_tf.settings.stage import StageConfig
from avl_tf.training.checkpoints import Checkpoints
from data_prep import shards

# A name, and a neighbour's that it matches as a pattern.
PATTERNS = {
    "s[12]": "s1",
    "s?": "s1",
    "s*": "s1",
    "[!x]1": "s1",
    "s[1": "s1",
    "s\\1": "s1",
    "s[12]/*": "s1/a",
}
ODD = ["a b", " a ", "a%03d", "-a", "--a", "é語", "a:b", "a,b;c", "{a,b}", "#a", "a\nb"]


class _State(tf.Module):
    def __init__(self, value):
        self.model = tf.Module()
        self.model.weight = tf.Variable([value] * 300)
        self.step = tf.Variable(0, dtype=tf.int64)


def _checkpoints(run_dir, value=0.0):
    os.makedirs(run_dir, exist_ok=True)
    state = _State(value)
    return state, Checkpoints(str(run_dir), state, 2, writes=True)


def _save(run_dir, value, steps):
    state, kept = _checkpoints(run_dir, value)
    for step in steps:
        state.step.assign(step)
        kept.save_best()
        kept.save()


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _content(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", [*PATTERNS, *ODD])
def test_checkpoints_are_a_runs_own(tmp_path, name):
    neighbour = tmp_path / PATTERNS.get(name, "a")
    _save(neighbour, 1.0, range(3))
    for folder in ("checkpoints", "best"):
        (neighbour / folder / "ckpt-9_temp").mkdir()
    before = _content(neighbour)

    _save(tmp_path / name, 2.0, range(5))
    for folder in ("checkpoints", "best"):
        (tmp_path / name / folder / "ckpt-9_temp").mkdir()
        (tmp_path / name / folder / "my_temp.txt").write_text("not a remain")
    state, kept = _checkpoints(tmp_path / name)
    assert kept.restore() and kept.latest == f"{tmp_path}/{name}/checkpoints/ckpt-4"
    assert int(state.step) == 4 and state.model.weight[0] == 2
    state.step.assign(5)
    kept.save()
    kept.save_best()

    parts = ["ckpt-5.data-00000-of-00001", "ckpt-5.index", "my_temp.txt"]
    older = ["ckpt-4.data-00000-of-00001", "ckpt-4.index"]
    assert _names(tmp_path / name / "best") == ["checkpoint", *parts]
    assert _names(tmp_path / name / "checkpoints") == ["checkpoint", *older, *parts]
    assert _content(neighbour) == before
    assert (neighbour / "best" / "ckpt-9_temp").is_dir()


def test_a_failed_write_is_told_by_the_runs_own_name(tmp_path):
    state, kept = _checkpoints(tmp_path / "s[12]")
    (tmp_path / "s[12]" / "checkpoints").write_text("in the way")
    with pytest.raises(OSError, match=r"s\[12\]: what belongs to step 0") as caught:
        kept.save()
    assert "/proc/" not in str(caught.value)


@pytest.mark.parametrize("path", ["s3://bucket/s[12]", "gs://bucket/s*", "ram://s?"])
def test_a_remote_pattern_is_refused_before_anything_is_written(path):
    state = _State(0.0)
    with pytest.raises(ValueError, match="for a pattern. Use another name"):
        with files.plain(path):
            pass
    if path.startswith("ram"):
        with pytest.raises(ValueError, match="for a pattern. Use another name"):
            Checkpoints(path, state, 2, writes=True)
        assert not tf.io.gfile.exists(path)


def test_left_overs_of_a_folders_own_shards_are_removed_and_nothing_else(tmp_path):
    frames = corpus.FEATURES_2D
    spec = RecordsSpec(AudioConfig(), "clip", frames, None, ("en",), False, {})
    folder, neighbour = tmp_path / "r[12]", tmp_path / "r1"
    name, digits = records.shard_name("all", 0, 1), "0123456789abcdef" * 2
    others = [f"{name}.mine.tmp", f"x-{name}.{digits}.tmp", f"{name}.{digits}.tmp.gz"]
    for each in (folder, neighbour):
        each.mkdir()
        for left in (f"{name}.{digits}.tmp", *others):
            (each / left).write_text("half")
    result = shards.write(str(folder), name, [(b"record", 1)])
    shards.finish(str(folder), spec, [result])
    assert _names(neighbour) == sorted([f"{name}.{digits}.tmp", *others])
    ours = ["failures.jsonl", "notes.jsonl", "progress", "spec.json", name]
    assert _names(folder) == sorted([*ours, *others])
    assert shards.read_result(str(folder), name) == result


def test_names_that_are_not_utf8_beside_ours_are_no_hindrance(tmp_path):
    _save(tmp_path, 1.0, [3])
    version = tmp_path / "export" / "1"
    version.mkdir(parents=True)
    for folder in ("checkpoints", "best", "export", "."):
        (tmp_path / folder / "ckpt-3_temp\udcff").write_text("not ours")
    state, kept = _checkpoints(tmp_path)
    assert kept.restore() and int(state.step) == 3
    with versions.temporary_folder(str(tmp_path)) as made:
        assert versions.keep(made, str(tmp_path)) == f"{tmp_path}/export/2"
    with pytest.raises(FileNotFoundError, match="not an export of a run"):
        trained.look_at_export(str(tmp_path))
    frames = corpus.FEATURES_2D
    spec = RecordsSpec(AudioConfig(), "clip", frames, None, ("en",), False, {})
    shards.finish(str(tmp_path), spec, [])
    for folder in ("checkpoints", "best", "export", "."):
        assert (tmp_path / folder / "ckpt-3_temp\udcff").exists()


def test_a_saved_model_in_a_folder_that_is_not_utf8_is_loaded(tmp_path):
    module = tf.Module()
    module.value = tf.Variable(2.0)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    (tmp_path / "a\udcff").mkdir()
    moved = (tmp_path / "saved").rename(tmp_path / "a\udcff" / "saved")
    with files.plain(str(moved)) as plain:
        assert tf.saved_model.load(plain).value == 2


def test_records_below_a_folder_that_is_not_utf8_are_refused_at_the_start(tmp_path):
    (tmp_path / "a\udcff").mkdir()
    (tmp_path / "a.mp4").write_text("never read")
    line = '{"id": "a", "media": "a.mp4", "split": "train"}'
    (tmp_path / "m.jsonl").write_text(line)
    arguments = [f"--manifest={tmp_path}/m.jsonl", "--out_dir=records"]
    done = run_afresh("data_prep.extract", *arguments, cwd=tmp_path / "a\udcff")
    fails_in_one_line(done, "records: not UTF-8", "started in too. Rename it.")
    assert not _names(tmp_path / "a\udcff")


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def _cut(path):
    path.write_bytes(path.read_bytes()[:50])


def _make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["run", "s[12]"])
@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize(
    ("spoil", "kind", "text"),
    [
        (_flip, ValueError, "ckpt-4: damaged"),
        (_cut, ValueError, "ckpt-4: damaged"),
        (lambda path: path.write_bytes(b""), ValueError, "ckpt-4: damaged"),
        (pathlib.Path.unlink, OSError, "cannot be read"),
        (_make_folder, OSError, "cannot be read"),
    ],
)
def test_only_broken_content_is_to_be_deleted(tmp_path, name, part, spoil, kind, text):
    _save(tmp_path / name, 1.0, [4])
    path = tmp_path / name / "checkpoints" / f"ckpt-4.{part}"
    spoil(path)
    state = _State(0.0)
    with pytest.raises(kind, match=text) as caught:
        checkpoint_files.restore(
            tf.train.Checkpoint(state), f"{tmp_path}/{name}/checkpoints/ckpt-4"
        )
    assert ("Delete it" in str(caught.value)) == (kind is ValueError)
    assert str(tmp_path / name) in str(caught.value)
    assert "/proc/" not in str(caught.value)


@pytest.mark.parametrize("change", ["shape", "type", "more"])
def test_a_checkpoint_of_another_model_is_not_to_be_deleted(tmp_path, change):
    _save(tmp_path / "run", 1.0, [4])
    state = _State(0.0)
    if change == "more":
        state.model.bias = tf.Variable(0.0)
    else:
        dtype = tf.int32 if change == "type" else tf.float32
        shape = [10, 30] if change == "shape" else [300]
        state.model.weight = tf.Variable(tf.zeros(shape, dtype))
    with pytest.raises(ValueError, match="whole, but of another model") as caught:
        checkpoint_files.restore(
            tf.train.Checkpoint(state), f"{tmp_path}/run/checkpoints/ckpt-4"
        )
    assert "elete" not in str(caught.value)


@pytest.mark.parametrize("spoil", [_make_folder, lambda p: p.write_bytes(b"")])
def test_a_list_of_checkpoints_that_cannot_be_read_is_not_none(tmp_path, spoil):
    _save(tmp_path / "run", 1.0, [4])
    spoil(tmp_path / "run" / "checkpoints" / "checkpoint")
    with pytest.raises((ValueError, tf.errors.OpError)):
        checkpoint_files.newest(f"{tmp_path}/run/checkpoints")


def test_a_hub_module_under_a_pattern_is_loaded(tmp_path):
    module = tf.Module()
    module.scale = tf.Variable(2.0)
    module.__call__ = tf.function(
        lambda images: tf.reduce_mean(images, [1, 2]) * module.scale,
        input_signature=[tf.TensorSpec([None, None, None, 3])],
    )
    tf.saved_model.save(module, str(tmp_path / "m[12]"))
    backbone = backbones.load_backbone(f"hub:{tmp_path}/m[12]")
    frames = np.full((2, 224, 224, 3), 255, np.uint8)
    assert np.allclose(backbone(frames), 2)


@pytest.mark.parametrize("text", ["a\nb", "a\u2028b", "a\rb"])
def test_a_line_break_in_a_setting_is_refused(text):
    with pytest.raises(ValueError, match="--records=.*line break"):
        to_flagfile(StageConfig(records=text))


@pytest.mark.slow
def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    done = run("avl_tf.evaluate", f"--run_dir={tmp_path}/\udcff")
    fails_in_one_line(done, "not UTF-8")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "beside"), [("s[12]", "s1"), ("-s*\n%d", "-s\n%d")])
def test_a_run_under_a_pattern_is_made_and_used_like_any(tmp_path, name, beside):
    where, folder = str(tmp_path / name), tmp_path / name
    set_path = corpus.make_set(f"{tmp_path}/r[12] ?*", n_recordings=8)
    stage = StageConfig(
        records=set_path,
        epochs=3,
        batch_size=32,
        keep_checkpoints=2,
        best_metric="x/R@1",
    )
    clips = ClipConfig(clip_s=2.0, clips_per_recording=8, shuffle_clips=64)
    evaluated = EvaluationConfig((f"x={set_path}",), evaluation_clip_s=2.0)
    small = {"audio_widths": (8, 8, 16), "embedding_dim": 16, "visual_scale": 20.0}

    def train(run_dir, stop_at=None):
        def stop(entry):
            if entry["epoch"] == stop_at:
                raise KeyboardInterrupt

        config = dataclasses.replace(training.base_model_config(stage, None), **small)
        return training.train_stage(
            run_dir, stage, clips, evaluated, config, after_evaluation=stop
        )

    whole = train(str(tmp_path / beside))
    before = _content(tmp_path / beside)
    with pytest.raises(KeyboardInterrupt):
        train(where, stop_at=2)
    ended = train(where)
    # By the paths of both.
    assert ended.pop("shared").keys() == whole.pop("shared").keys()
    assert ended == whole
    kept = [n for n in _names(folder / "checkpoints") if n.endswith(".index")]
    assert kept == ["ckpt-4.index", "ckpt-6.index"]
    assert len(_names(folder / "best")) == 3

    exported = serving.export(where)
    assert exported == f"{where}/export/1"
    models = [runs.load_model(str(tmp_path / each))[0] for each in (name, beside)]
    weights = [model.get_weights() for model in models]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    for path in (where, exported):
        assert avl_tf.load(path).embedding_dim == 16
    done = run("avl_tf.evaluate", f"--export={exported}", f"--output={where}/e.json")
    assert done.returncode == 0, done.stderr
    assert _content(tmp_path / beside) == before
