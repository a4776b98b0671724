"""Programs that are interrupted or killed, and what becomes of their workers."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from programs import environment

from avl_tf import offspring

_PROGRAM = """
import functools, re, time
from avl_tf import program
from avl_tf.spreading import processes

def main():
    print("begun", flush=True)
    for _ in processes.run({function}, {tasks}, 2):
        print("done", flush=True)

if __name__ == "__main__":
    program.run(main)
"""
_SLEEPS = {"function": "time.sleep", "tasks": "[0.01, 60, 60]"}
# No other thread of the worker runs meanwhile.
_HOLDS_ALL = {
    "function": "functools.partial(re.findall, '(a+)+$')",
    "tasks": "['a', 'a' * 50 + 'b', 'a' * 50 + 'b']",
}


def _status(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()


def _children(process):
    """Those of its session that live, but for the process itself."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry)
            state, *_ = _status(pid)
            if os.getsid(pid) == process.pid != pid and state != "Z":
                found.append(pid)
    return found


def _start(*command, **settings):
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **settings,
    )


def _until(condition, seconds):
    started = time.monotonic()
    while not condition() and time.monotonic() - started < seconds:
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.fixture
def begin(tmp_path):
    """Starts the program; returns it when it is at the moment."""
    begun = []

    def start(work, moment):
        script = tmp_path / "script.py"
        script.write_text(_PROGRAM.format(**work))
        process = _start(str(script))
        begun.append(process)
        assert process.stdout.readline() == "begun\n"
        if moment == "working":
            assert process.stdout.readline() == "done\n"
            time.sleep(0.5)
        else:  # the tracker of multiprocessing is the first
            _until(lambda: len(_children(process)) > 1, 60)
            time.sleep(moment)
        return process

    yield start
    for process in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    ("work", "moment"),
    [(_HOLDS_ALL, "working"), (_SLEEPS, "working"), (_SLEEPS, 0.0), (_SLEEPS, 0.5)],
)
def test_no_worker_outlives_a_program_that_is_killed(begin, work, moment):
    process = begin(work, moment)
    assert len(_children(process)) > 1
    process.kill()  # and it is not buried until the test is over
    assert _until(lambda: not _children(process), 10) < 2.0


@pytest.mark.parametrize("moment", ["working", 0.0, 0.5, 1.5])
def test_an_interrupted_program_says_so_and_no_more(begin, moment):
    process = begin(_SLEEPS, moment)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.splitlines() == ["stopped; what was kept stays"]
    assert process.returncode == 130
    assert _until(lambda: not _children(process), 10) < 2.0


@pytest.mark.parametrize(
    ("module", "given"),
    [("avl_tf.train", "records"), ("data_prep.extract", "manifest")],
)
def test_a_program_that_is_interrupted_as_it_is_read_says_so(module, given, tmp_path):
    if given == "records":
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "spec.json").write_text("{}")  # looked for before all else
    else:
        line = '{"id": "a", "media": "a.mp4", "language": "en"}\n'
        (tmp_path / "in").write_text(line)
    folder = "run_dir" if given == "records" else "out_dir"
    arguments = [f"--{given}={tmp_path}/in", f"--{folder}={tmp_path}/out"]
    process = _start("-m", module, *arguments)
    maps = pathlib.Path(f"/proc/{process.pid}/maps")
    assert _until(lambda: "libtensorflow" in maps.read_text(), 60) < 60
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # TensorFlow 2.21 says on its own what it finds as it is read.
    of_tensorflow = re.compile(r"WARNING: All log messages before|[IWE]0000 ")
    lines = [e for e in errors.splitlines() if not of_tensorflow.match(e)]
    assert lines in (
        ["stopped before it began"],
        ["stopped; what was kept stays"],
    )
    assert process.returncode in (-signal.SIGINT, 130)


@pytest.mark.parametrize(
    ("stale", "ends"), [("1", False), ("gone", True), ("zombie", True)]
)
def test_a_worker_whose_parent_has_died_before_it_looked_ends(stale, ends):
    """A variable of somebody further up, who lives, changes nothing."""
    gone = subprocess.Popen(["true"])
    _until(lambda: _status(gone.pid)[0] == "Z", 10)
    if stale == "gone":
        gone.wait()
    value = stale if stale == "1" else str(gone.pid)
    done = subprocess.run(
        [sys.executable, "-c", "import data_prep; print('goes on')"],
        env={**environment(), offspring._PARENT: value},
        capture_output=True,
        text=True,
    )
    gone.wait()
    assert ("goes on" in done.stdout) != ends and done.returncode == int(ends)


def test_what_a_child_gets_goes_no_further():
    code = "import os, data_prep; print('AVL_TF_PARENT' in os.environ)"
    env = {**environment(), **offspring.environment()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
