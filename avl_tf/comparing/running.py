"""Trainings on worker processes: some at once, finished ones skipped, others resumed.

Each keeps its ranks and a note of what it was trained by in its run directory; by the
note it is known again as finished.
"""

import collections
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from typing import Any

import tensorflow as tf
from absl import logging

from avl_tf import files, offspring
from avl_tf.comparing import worker
from avl_tf.comparing.trainings import Training
from avl_tf.errors import UserError
from avl_tf.evaluation import rankings
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.records import open_records
from avl_tf.trained import identity
from avl_tf.training import lock
from avl_tf.wording import counted, span

_LOGS = "logs"
# Of a process, which keeps some memory of each: it grew from 0.8 to 1.8 GB in 22.
_TASKS = 4


class TrainingsFailed(UserError):
    """Some did not come to their end; ranks are the others', as from train_all."""

    def __init__(self, message: str):
        super().__init__(message)
        self.ranks: dict[str, dict[str, RankedSet]] = {}


def train_all(
    folder: str,
    trainings: Sequence[Training],
    at_once: int = 0,
    n_threads: int = 0,
    export: bool = False,
) -> dict[str, dict[str, RankedSet]]:
    """Trains what is not finished; what was stopped goes on where it was.

    Args:
        folder: of the comparison; each training has a run directory in it, and a local
            one holds the log of each in logs/.
        trainings: a parent stands before its children. Each has a name of its own.
        at_once: processes side by side; 0 is default_at_once.
        n_threads: of an operation of each; 0 is its share of the cores. Another number
            gives other results, in the last digits of a step.
        export: export each training.

    Returns:
        The ranks by training and evaluation set.

    Raises:
        TrainingsFailed: some did, each of which is told by a line of the log. The
            others are finished, and kept.
        UserError: another process uses the folder.
    """
    digests = _digests(trainings)
    waiting = [t for t in trainings if not _is_finished(folder, t, digests)]
    logging.info(
        "%s: %d finished before",
        counted(len(trainings), "training"),
        len(trainings) - len(waiting),
    )
    if waiting:
        n = min(at_once or default_at_once(), len(waiting))
        try:
            n_threads = n_threads or max(1, offspring.n_cores() // n)
            with lock.sole_process(folder), _Workers(n, n_threads) as workers:
                _Progress(folder, trainings, waiting, digests, workers, export).run()
        except TrainingsFailed as error:
            done = [t for t in trainings if _is_finished(folder, t, digests)]
            error.ranks = _ranks(folder, done)
            raise
    return _ranks(folder, trainings)


def finished(folder: str, trainings: Sequence[Training]) -> set[str]:
    """Names of the trainings that train_all would skip."""
    digests = _digests(trainings)
    return {t.name for t in trainings if _is_finished(folder, t, digests)}


def _ranks(
    folder: str, trainings: Sequence[Training]
) -> dict[str, dict[str, RankedSet]]:
    return {
        training.name: rankings.read(path) if tf.io.gfile.exists(path) else {}
        for training in trainings
        for path in [files.join(folder, training.name, worker.RANKS)]
    }


def default_at_once() -> int:
    """One training for two cores, or a single one with a GPU."""
    return 1 if identity.has_gpu() else max(1, offspring.n_cores() // 2)


def _digests(trainings: Sequence[Training]) -> dict[str, str]:
    """What each training's outcome depends on, by its name: flags, records, parent."""
    paths = {path for training in trainings for path in training.paths}
    content = {path: open_records(path, any_length=True).fingerprint for path in paths}
    digests = {"": ""}
    for training in trainings:
        told = [
            training.arguments,
            [content[path] for path in training.paths],
            digests[training.parent],
            *filter(None, [training.init_from]),
        ]
        digests[training.name] = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return digests


def _is_finished(folder: str, training: Training, digests: Mapping[str, str]) -> bool:
    path = files.join(folder, training.name, worker.FINISHED)
    if not tf.io.gfile.exists(path):
        return False
    note = files.read_json(path)
    return isinstance(note, dict) and note.get("digest") == digests[training.name]


class _Progress:
    """Trainings under way; what waits for a parent starts when that is finished."""

    def __init__(
        self, folder, trainings, waiting, digests, workers: "_Workers", export: bool
    ):
        self._folder, self._digests = folder, digests
        self._workers, self._export = workers, export
        self._waiting: list[Training] = list(waiting)
        self._n, self._n_done = len(trainings), len(trainings) - len(waiting)
        self._undone = [training.name for training in waiting]
        self._failed: set[str] = set()
        self._seconds: dict[str, list[float]] = {}  # of finished ones, by kind

    def run(self) -> None:
        running: dict[str, tuple[Training, float]] = {}
        while self._waiting or running:
            for training in self._ready(self._workers.n - len(running)):
                self._waiting.remove(training)
                running[training.name] = training, time.monotonic()
                self._workers.start(training.name, self._task(training))
                log = self._log(training)
                where = f", its log is {log}" if log != os.devnull else ""
                logging.info("%s: started%s", training.name, where)
            if not running:  # what is left waits for what failed
                break
            name, error = self._workers.next()
            training, started = running.pop(name)
            if error:
                self._failed.add(name)
                logging.error("%s failed: %s", name, error)
                continue
            self._undone.remove(name)
            self._n_done += 1
            took = time.monotonic() - started
            self._seconds.setdefault(training.kind, []).append(took)
            left = self._left([t for t, _ in running.values()])
            logging.info(
                "%d of %d trainings: %s in %s%s",
                *(self._n_done, self._n, name, span(took), left),
            )
        if self._failed:
            failed = [name for name in self._undone if name in self._failed]
            waiting = len(self._waiting)
            after = f" ({waiting} more wait for these)" if waiting else ""
            raise TrainingsFailed(
                f"{len(failed)} of {counted(self._n, 'training')} failed{after}: "
                f"{', '.join(failed)}. The lines above tell why. What is "
                "finished is kept: run the same command again."
            )

    def _ready(self, n: int) -> list[Training]:
        ready = [t for t in self._waiting if t.parent not in self._undone]
        return ready[:n]

    def _log(self, training: Training) -> str:
        """The file of a training's log; a remote folder holds none."""
        if files.is_remote(self._folder):
            return os.devnull
        name = training.name.replace("/", "-") + ".log"
        return os.path.join(files.local_path(self._folder), _LOGS, name)

    def _task(self, training: Training) -> dict:
        log = self._log(training)
        os.makedirs(os.path.dirname(log), exist_ok=True)
        parent = training.init_from
        if training.parent:
            parent = files.join(self._folder, training.parent)
        return {
            "run_dir": files.join(self._folder, training.name),
            "arguments": training.arguments,
            "parent": parent,
            "digest": self._digests[training.name],
            "log": os.path.abspath(log),
            "export": self._export,
        }

    def _left(self, running: Sequence[Training]) -> str:
        """About how long the rest takes, by what its kinds have taken."""
        rest = [*running, *self._waiting]
        if not rest:
            return ""
        means = {kind: sum(took) / len(took) for kind, took in self._seconds.items()}
        typical = sum(means.values()) / len(means)
        seconds = sum(means.get(training.kind, typical) for training in rest)
        return f"; about {span(seconds / min(self._workers.n, len(rest)))} left"


class _Workers:
    """Worker processes, each with one training at a time; a context manager.

    They are in a session of their own, so that Ctrl-C is this process's alone, and end
    with it, however it ends.
    """

    def __init__(self, n: int, n_threads: int):
        self.n, self._n_threads = n, n_threads
        self._idle: list[Any] = []
        self._busy: dict[Any, str] = {}
        self._n_done: dict[Any, int] = collections.Counter()

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *error) -> None:
        for process in (*self._idle, *self._busy):
            process.kill()
            process.communicate()

    def start(self, name: str, task: dict) -> None:
        """Gives a task to a worker that has none."""
        process: Any = self._idle.pop() if self._idle else self._another()
        self._busy[process] = name
        with contextlib.suppress(BrokenPipeError):  # it has died: next tells so
            process.stdin.write(json.dumps(task).encode() + b"\n")

    def next(self) -> tuple[str, str]:
        """Waits for a worker: its task's name, and what is wrong, "" if nothing."""
        outputs = {process.stdout: process for process in self._busy}
        ready: list[Any] = connection.wait(list(outputs))
        process = outputs[ready[0]]
        name = self._busy.pop(process)
        answer = ready[0].readline()
        if answer:
            self._n_done[process] += 1
            if self._n_done[process] < _TASKS:
                self._idle.append(process)
            else:
                process.communicate()  # it ends with its input
            return name, json.loads(answer)
        process.communicate()
        status = process.returncode
        return name, (
            f"its process was ended ({-status if status < 0 else status}), perhaps for "
            "want of memory: try a smaller --at_once"
        )

    def _another(self) -> subprocess.Popen[bytes]:
        numbers = map(str, (os.getpid(), self._n_threads))
        return subprocess.Popen(
            [sys.executable, "-m", worker.__name__, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=offspring.of_module(),
        )
