"""Uses files in a process of its own, with a deadline and a watch on its memory."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from multiprocessing import connection

from tests.mutation_worker import memory
from tests.programs import environment

DEADLINE_S = 20
MOST_GROWTH = 1 << 30
_COMMAND = [sys.executable, "-m", "tests.mutation_worker"]
_START_S = 300
_LOOK_EVERY_S = 0.05


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a file: a fault, or a refusal in the line told, or a result."""

    fault: str
    told: str
    seconds: float
    grown: int  # bytes, at most


class Bounded:
    """A worker that is ended when it takes too much, and started when it is missing."""

    def __init__(self, log: pathlib.Path):
        """Appends what the worker prints to a log."""
        self._log = log
        self._worker: subprocess.Popen | None = None
        self._begun: set[str] = set()

    def __enter__(self) -> "Bounded":
        return self

    def __exit__(self, *_) -> None:
        self._end()

    def begin(self, kind: str, folder: pathlib.Path) -> None:
        """Lets the worker use a kind's whole file, unless it has done so.

        What a first use loads and traces is not held against the files that follow.
        """
        if kind not in self._begun:
            outcome = self._ask(kind, folder, _START_S)
            if outcome.fault or outcome.told:
                raise RuntimeError(f"{kind}: the whole file is not used: {outcome}")
            self._begun.add(kind)

    def use(self, kind: str, folder: pathlib.Path) -> Outcome:
        """Lets the worker use a kind's file."""
        return self._ask(kind, folder, DEADLINE_S)

    def _ask(self, kind: str, folder: pathlib.Path, deadline_s: float) -> Outcome:
        if self._worker is None:
            self._worker = _start(self._log)
        worker, started, grown = self._worker, time.monotonic(), 0
        before = memory("VmRSS", worker.pid)
        worker.stdin.write(json.dumps([kind, str(folder)]).encode() + b"\n")
        # Not select.select, which knows no file beyond the first 1024.
        while not connection.wait([worker.stdout], _LOOK_EVERY_S):
            seconds = time.monotonic() - started
            grown = max(grown, memory("VmRSS", worker.pid) - before)
            if seconds > deadline_s * _crowd():
                return self._ended(f"no end in {deadline_s} s", seconds, grown)
            if grown > MOST_GROWTH:
                return self._ended("it outgrows its memory", seconds, grown)
        seconds = time.monotonic() - started
        answer = worker.stdout.readline()
        if not answer:
            return self._ended(f"it died ({worker.wait()})", seconds, grown)
        outcome = Outcome(*json.loads(answer))
        if outcome.grown > MOST_GROWTH:
            return dataclasses.replace(outcome, fault="it outgrew its memory")
        return outcome

    def _ended(self, fault: str, seconds: float, grown: int) -> Outcome:
        self._end()
        return Outcome(fault, "", seconds, grown)

    def _end(self) -> None:
        if self._worker:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None
            self._begun.clear()


def _crowd() -> float:
    """How many processes want each core: so many times a file may take longer."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _start(log: pathlib.Path) -> subprocess.Popen:
    with open(log, "a") as out:
        return subprocess.Popen(
            _COMMAND,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            bufsize=0,
        )
