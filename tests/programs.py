"""The programs as a user starts them: the terminal's view of them.

TensorFlow is imported once, by a server (program_server.py) that becomes a copy of
itself for every program; `run_afresh` starts a program as the shell does.
"""

import atexit
import contextlib
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent


def environment():
    """This process's, with which a program finds its modules from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(module, *arguments, cwd=None):
    """Runs python -m module with the arguments, in cwd or this process's folder."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        request = {
            "module": module,
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd or os.getcwd()),
            "environment": environment(),
            "outputs": paths,
        }
        server = _server()
        try:
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            status = int(server.stdout.readline())
        except BaseException:  # a time limit among others: the program is ended too
            _end(server)
            _server.cache_clear()
            raise
        texts = [pathlib.Path(path).read_text() for path in paths]
    return subprocess.CompletedProcess([module, *arguments], status, *texts)


def run_afresh(module, *arguments, cwd=None):
    """As run, in a process that has imported nothing yet."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True
    )


@contextlib.contextmanager
def started(module, *arguments, cwd=None, stderr=subprocess.PIPE):
    """A program that runs meanwhile, and is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fails_in_one_line(done, *texts):
    """The program ended with one clear line that holds the texts, no traceback."""
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in lines[0]


@functools.lru_cache
def _server():
    path = pathlib.Path(__file__).with_name("program_server.py")
    server = subprocess.Popen(
        [sys.executable, str(path)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    atexit.register(_end, server)
    return server


def _end(server):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
