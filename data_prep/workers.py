"""Extraction on worker processes: tasks in, finished shards out, whatever dies."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from absl import logging
from distributed import KilledWorker

from avl_tf import extraction
from avl_tf.spreading.processes import Processes
from data_prep import shard_tasks
from data_prep.known import Known
from data_prep.shard_tasks import ShardTask
from data_prep.shards import ShardResult

_T = TypeVar("_T")


class Workers:
    """Worker processes that extract, started when they are first needed.

    A context manager. The processes are this machine's, or those of a dask cluster.

    Args:
        n_workers: processes on this machine.
        n_threads: threads of TensorFlow in each.
        scheduler: address of a dask scheduler, whose workers are used instead.
    """

    def __init__(self, n_workers: int, n_threads: int = 1, scheduler: str = ""):
        self._processes = Processes(n_workers, scheduler)
        self._n_threads = max(1, n_threads)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error) -> None:
        self._processes.__exit__(*error)

    def run(
        self, function: Callable[..., _T], *arguments: Any, by_each: bool = False
    ) -> _T:
        """Returns function(*arguments), by a worker; as Processes.run."""
        return self._processes.run(self._here(function), *arguments, by_each=by_each)

    def make_shards(self, tasks: list[ShardTask]) -> Iterator[ShardResult]:
        """Makes shards, in the order in which they get done; raises as run does."""
        function = self._here(shard_tasks.extract_shard)
        suspects: list[ShardTask] = []
        for _, result in self._processes.each(function, tasks, suspects):
            yield result
        for task in suspects:
            try:
                yield self.run(shard_tasks.extract_shard, task)
            except KilledWorker:
                yield self._without_killers(task)

    def _without_killers(self, task: ShardTask) -> ShardResult:
        """Makes a shard that kills its worker: recordings to blame are left out."""
        logging.warning("%s kills its worker; trying its recordings singly", task.name)
        lost = {}
        for recording in task.tried:
            try:
                self.run(extraction.try_recording, recording, task.config, task.folder)
            except KilledWorker:
                reason = "the worker process died over it, again and again"
                lost[recording.id] = Known(reason=reason)
        try:
            task = dataclasses.replace(task, known={**task.known, **lost})
            return self.run(shard_tasks.extract_shard, task)
        except KilledWorker as error:
            raise ChildProcessError(
                f"{task.name}: worker processes die over it, though not over any of "
                "its recordings alone. Do they have enough memory? Use fewer --workers."
            ) from error

    def _here(self, function: Callable[..., _T]) -> Callable[..., _T]:
        return functools.partial(_run_here, self._n_threads, function)


def _run_here(n_threads: int, function: Callable[..., _T], *arguments: Any) -> _T:
    """Runs a function in a worker; the first one settles TensorFlow's threads."""
    # Raised in a process that has used TensorFlow with others: those stay.
    with contextlib.suppress(RuntimeError):
        extraction.limit_threads(n_threads)
    return function(*arguments)
