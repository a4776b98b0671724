"""Runs the sides of a comparison in turns, and makes rows of what they answer."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from avl_tf.errors import UserError
from benchmarks.rows import Row, brief

_ROOT = pathlib.Path(__file__).parent.parent

Run = dict[str, Any]


class Side:
    """A program of benchmarks/sides/ in a process of its own; a context manager.

    All sides have the same cores: n_cores of this machine's, or all of them. Thread
    pools take their size from that. With n_cores no GPU is visible.

    Attributes:
        ready: the first answer (side.serve), and ready_s, from the process's start.
    """

    def __init__(self, program: str, n_cores: int | None = None, **settings):
        self.program = program
        self.n_cores = n_cores
        self.settings = settings
        self.ready: dict = {}

    def __enter__(self) -> "Side":
        cores = os.sched_getaffinity(0)
        given = sorted(cores)[: self.n_cores]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(len(given)),
            **({"CUDA_VISIBLE_DEVICES": "-1"} if self.n_cores else {}),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        module = f"benchmarks.sides.{self.program}"
        self._log = tempfile.TemporaryFile("w+")
        started = time.perf_counter()
        # The process inherits the cores; libraries look at them when imported.
        os.sched_setaffinity(0, given)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, json.dumps(self.settings)],
                cwd=_ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
            )
        finally:
            os.sched_setaffinity(0, cores)
        try:
            self.ready = self._answer()
            self.ready["ready_s"] = time.perf_counter() - started
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU, whose products are of shorter numbers."""
        return "GPU" in self.ready.get("device", "")

    def repeat(self) -> Run:
        """Does the work once more; ValueError with its last words if it fails."""
        try:
            print(file=self._process.stdin, flush=True)
        except BrokenPipeError:
            pass  # _answer has the reason.
        return self._answer()

    def _answer(self) -> Run:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        status = self._process.wait()
        self._log.seek(0)
        last = (self._log.read().strip().splitlines() or ["no message"])[-1]
        advice = ""
        if last.startswith("ModuleNotFoundError"):
            advice = " `make bench` installs what the other sides need."
        raise UserError(f"{self.program} ended with status {status}: {last}.{advice}")


def in_turns(n_repeats: int, *sides: Side) -> list[list[Run]]:
    """Repeats the sides' work alternately, never two at once: a list of runs a side."""
    runs: list[list[Run]] = [[] for _ in sides]
    for _ in range(n_repeats):
        for side, so_far in zip(sides, runs, strict=True):
            so_far.append(side.repeat())
    return runs


def compare(
    name: str,
    unit: str,
    figure: Callable[[Run], float],
    ours: Sequence[Run],
    other: Sequence[Run],
    other_name: str,
    note: str = "",
) -> Row:
    """Makes a row of the medians of a figure of both sides' runs.

    The note gets the figures' ranges.
    """
    figures = [tuple(figure(run) for run in runs) for runs in (ours, other)]
    ranges = [f"{brief(min(f))}-{brief(max(f))}" for f in figures]
    spread = f"{len(ours)} runs: ours {ranges[0]}, other {ranges[1]}"
    return Row(
        name=name,
        ours=statistics.median(figures[0]),
        other=statistics.median(figures[1]),
        other_name=other_name,
        unit=unit,
        note="; ".join(filter(None, [spread, note])),
        ours_repeats=figures[0],
        other_repeats=figures[1],
        device=str(ours[0].get("device", "")),
    )


def check_equal(what: str, ours, other, tolerance: float) -> str:
    """Makes sure that both sides did the same work.

    Args:
        what: names it, for messages.
        ours, other: numbers or arrays of the same shape.
        tolerance: the difference allowed.

    Returns:
        How far they are apart, for a row's note.

    Raises:
        ValueError: they differ by more, or one is not finite.
    """
    ours, other = np.asarray(ours, np.float64), np.asarray(other, np.float64)
    if ours.shape != other.shape:
        raise UserError(f"{what}: ours has shape {ours.shape}, theirs {other.shape}.")
    difference = float(np.max(np.abs(ours - other)))
    if not difference <= tolerance:
        raise UserError(
            f"{what}: the sides differ by {difference:.3g}, more than {tolerance:.3g}. "
            "They do not do the same work, and their times say nothing."
        )
    return f"{what} equal to {difference:.1g}"
