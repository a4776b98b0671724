"""The numbered folders of exports: killed ones, several at once, full disks."""

import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import environment

from avl_tf import files, runs, serving
from avl_tf.model import ModelConfig, build_model
from avl_tf.records import FeatureSpec
from avl_tf.runs import RunInfo
from avl_tf.serving import versions

FOLDERS = ["run", "s[12]", "a*b?", "with space"]
_EXPORTING = """
import pathlib, sys
from avl_tf.serving import versions
with versions.temporary_folder(sys.argv[1]) as path:
    pathlib.Path(path, "saved_model.pb").write_text("half")
    print(path, flush=True)
    input()
"""
# Files end at a size, as on a disk that is full.
_SMALL_FILES = """
import resource, sys
from avl_tf import export
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
export.cli()
"""


@pytest.fixture(params=FOLDERS)
def run_dir(request, tmp_path):
    for name in FOLDERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "export.txt.tmp").write_text("a user's")
    return str(tmp_path / request.param)


def _names(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def _fill(path, text):
    tf.io.gfile.makedirs(path)
    pathlib.Path(path.removeprefix("file://"), "saved_model.pb").write_text(text)


def test_exports_at_once_get_numbers_of_their_own(run_dir):
    with versions.temporary_folder(run_dir) as one:
        _fill(one, "one")
        with versions.temporary_folder(f"file://{run_dir}") as two:
            _fill(two, "two")
            assert os.path.exists(one)
            kept = versions.keep(two, f"file://{run_dir}")
            assert kept == f"file://{run_dir}/export/1"
        assert versions.keep(one, run_dir) == f"{run_dir}/export/2"
    assert _names(run_dir) == ["export", "export.txt.tmp"]
    assert pathlib.Path(run_dir, "export/1/saved_model.pb").read_text() == "two"


def test_a_number_that_was_taken_meanwhile_is_passed_over(run_dir, monkeypatch):
    listed = files.names

    def listed_before(path):
        names = listed(path)
        if not names:
            _fill(f"{run_dir}/export/1", "of another")
        return names

    monkeypatch.setattr(files, "names", listed_before)
    with versions.temporary_folder(run_dir) as path:
        _fill(path, "ours")
        assert versions.keep(path, run_dir) == f"{run_dir}/export/2"
    assert pathlib.Path(run_dir, "export/1/saved_model.pb").read_text() == "of another"


def test_numbers_go_on_from_the_highest(run_dir):
    for name in ("1", "7", "²", "export", "12.tmp"):
        _fill(f"{run_dir}/export/{name}", name)
    with versions.temporary_folder(run_dir) as path:
        _fill(path, "ours")
        assert versions.keep(path, run_dir) == f"{run_dir}/export/8"


def test_what_a_killed_export_left_is_removed_and_no_other(run_dir):
    neighbours = [
        f"{folder}/export.{32 * 'a'}.tmp"
        for folder in pathlib.Path(run_dir).parent.iterdir()
        if str(folder) != run_dir
    ]
    for path in neighbours:
        _fill(path, "a neighbour's")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _EXPORTING, run_dir],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        killed, at_work = (p.stdout.readline().strip() for p in processes)
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        assert os.path.exists(killed)
        with versions.temporary_folder(run_dir) as ours:
            left = {os.path.basename(path) for path in (at_work, ours)}
            assert set(_names(run_dir)) == left | {"export.txt.tmp"}
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert all(os.path.exists(path) for path in neighbours)


def test_a_block_that_fails_leaves_nothing(run_dir):
    with pytest.raises(KeyError), versions.temporary_folder(run_dir) as path:
        _fill(path, "half")
        raise KeyError
    assert _names(run_dir) == ["export.txt.tmp"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    keras.utils.set_random_seed(0)
    config = ModelConfig((12,), audio_widths=(8, 8, 16), embedding_dim=16)
    seen = FeatureSpec("a", 12, 1.0)
    folder = str(tmp_path_factory.mktemp("run"))
    runs.write_info(
        folder, RunInfo(config, seen, None, "clip", "", "", ("es",), None, True)
    )
    checkpoint = tf.train.Checkpoint(model=build_model(config))
    prefix = runs.checkpoint_prefix(folder)
    tf.train.CheckpointManager(checkpoint, prefix, 1).save()
    return folder


@pytest.mark.parametrize("size", [1000, 300_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(run, size):
    before = _names(run)
    done = subprocess.run(
        [sys.executable, "-c", _SMALL_FILES, str(size), f"--run_dir={run}"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert line.startswith(f"error: {run}: the export cannot be made (")
    assert "File too large" in line and "nothing of it is kept" in line
    assert _names(run) == before


def test_a_check_that_cannot_be_run_is_told(run, monkeypatch):
    def killed(command, **_):
        return subprocess.CompletedProcess(command, -signal.SIGKILL, "", "")

    monkeypatch.setattr(subprocess, "run", killed)
    with pytest.raises(ValueError, match="was killed .signal 9.*not kept"):
        serving.export(run)

    def full(command, **_):
        error = "Traceback\nOSError: [Errno 28] No space left on device\n"
        return subprocess.CompletedProcess(command, 1, "", error)

    monkeypatch.setattr(subprocess, "run", full)
    with pytest.raises(ValueError, match="cannot be made .*No space left on device"):
        serving.export(run)


def test_weights_that_are_not_finite_are_told_and_not_exported(run, monkeypatch):
    load_model = runs.load_model

    def spoilt(run_dir, kind):
        model, info = load_model(run_dir, kind)
        model.get_layer("visual_gate_fc").bias.assign(np.full(16, np.nan))
        return model, info

    monkeypatch.setattr(runs, "load_model", spoilt)
    before = _names(run)
    with pytest.raises(ValueError, match="not kept. Is a weight not finite"):
        serving.export(run)
    assert _names(run) == before
    assert not tf.io.gfile.exists(files.join(run, "export"))
