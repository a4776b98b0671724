"""Extraction on worker processes: tasks in, finished shards out, whatever dies.

The processes are this machine's, or those of a dask cluster that is there already.
"""

import contextlib
import dataclasses
import functools
import itertools
import logging as standard_logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import dask
from absl import logging
from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    as_completed,
)
from distributed.comm import CommClosedError, get_address_host_port

from data_prep import extraction
from data_prep.extraction import ShardTask
from data_prep.shards import ShardResult

_T = TypeVar("_T")
# Shards that a scheduler knows of at a time: what it keeps does not grow with the
# corpus, and a large cluster is busy all the same.
_SHARDS_AHEAD = 1000
_PATIENCE_S = 10
# A process a core, which may use the memory it needs: --nworkers=auto would ignore
# --nthreads, and a limit would kill workers over long videos.
_WORKER_OPTIONS = "--nworkers=-1 --nthreads=1 --memory-limit=0"


class Workers:
    """Worker processes, started when they are first needed; a context manager.

    Args:
        n_workers: processes on this machine.
        n_threads: threads of TensorFlow in each.
        scheduler: address of a dask scheduler, whose workers are used instead.
    """

    def __init__(self, n_workers: int, n_threads: int = 1, scheduler: str = ""):
        self._n_workers, self._n_threads = n_workers, max(1, n_threads)
        self._scheduler = scheduler
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error) -> None:
        self._resources.__exit__(*error)

    def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Returns function(*arguments), computed by a worker.

        Raises:
            KilledWorker: the worker died over it, and so did another one.
            ConnectionError: the scheduler is gone.
            ValueError: the workers cannot run our code.
            Whatever the function raises.
        """
        return self._result(self._submit(function, *arguments))

    def make_shards(self, tasks: list[ShardTask]) -> Iterator[ShardResult]:
        """Makes shards, in the order in which they get done; raises as run does."""
        waiting = iter(tasks)
        running = {
            self._submit(extraction.extract_shard, task): task
            for task in itertools.islice(waiting, _SHARDS_AHEAD)
        }
        completed = as_completed(list(running), loop=self._client.loop)
        for future in completed:
            task = running.pop(future)
            try:
                yield self._result(future)
            except KilledWorker:
                yield self._without_killers(task)
            for following in itertools.islice(waiting, 1):
                added = self._submit(extraction.extract_shard, following)
                running[added] = following
                completed.add(added)

    def _without_killers(self, task: ShardTask) -> ShardResult:
        """Makes a shard that kills its worker: recordings to blame are left out."""
        logging.warning("%s kills its worker; trying its recordings singly", task.name)
        lost = {}
        for recording in task.recordings:
            try:
                self.run(extraction.try_recording, recording, task.config)
            except KilledWorker:
                lost[recording.id] = "the worker process died over it, again and again"
        try:
            task = dataclasses.replace(task, lost=lost)
            return self.run(extraction.extract_shard, task)
        except KilledWorker as error:
            raise ChildProcessError(
                f"{task.name}: worker processes die over it, though not over any of "
                "its recordings alone. Do they have enough memory? Use fewer --workers."
            ) from error

    def _submit(self, function: Callable, *arguments: Any) -> Future:
        return self._client.submit(
            _run_here, self._n_threads, function, *arguments, pure=False
        )

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except (CancelledError, CommClosedError) as error:
            raise ConnectionError(
                f"The dask scheduler at {self._scheduler or 'this machine'} is gone. "
                "Run the same command again: finished shards are kept."
            ) from error
        except ImportError as error:
            raise ValueError(
                f"The workers at {self._scheduler} cannot run data_prep ({error}). "
                "Install avl_tf there, with the versions of this machine."
            ) from error

    @functools.cached_property
    def _client(self) -> Client:
        for name in ("distributed", "distributed.client"):  # the second has its own
            standard_logging.getLogger(name).setLevel(standard_logging.CRITICAL)
        if self._scheduler:
            return self._resources.enter_context(_connect(self._scheduler))
        settings = {
            # A task may lose its worker once by bad luck; twice, and it is to blame.
            "distributed.scheduler.allowed-failures": 1,
            # Dask's own makes the C library give memory back after every layer of the
            # CNN, to ask for it anew: a quarter of the CPU time.
            "distributed.nanny.pre-spawn-environ": {},
        }
        self._resources.enter_context(dask.config.set(settings))
        cluster = LocalCluster(
            n_workers=self._n_workers,
            threads_per_worker=1,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=standard_logging.CRITICAL,
        )
        self._resources.enter_context(cluster)
        return self._resources.enter_context(Client(cluster, set_as_default=False))


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _connect(address: str) -> Client:
    try:
        # Client itself takes long to find out, and says it by a traceback.
        place = get_address_host_port(address, strict=True)
        socket.create_connection(place, _PATIENCE_S).close()
        client = Client(address, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"--scheduler={address}: no dask scheduler answers there ({error}). Give "
            "the address that `dask scheduler` prints, as in tcp://10.0.0.5:8786."
        ) from error
    threads = client.nthreads()
    logging.info("%s has %d workers", address, len(threads))
    if not threads:
        logging.warning(
            "Waiting for workers: start `dask worker %s %s`.", address, _WORKER_OPTIONS
        )
    if any(n_threads > 1 for n_threads in threads.values()):
        logging.warning(
            "Some workers have several threads, of which one at a time uses the CNN. "
            "Better: dask worker %s %s",
            address,
            _WORKER_OPTIONS,
        )
    return client


def _run_here(n_threads: int, function: Callable[..., _T], *arguments: Any) -> _T:
    """Runs a function in a worker; the first one settles TensorFlow's threads."""
    # Raised in a process that has used TensorFlow with others: those stay.
    with contextlib.suppress(RuntimeError):
        extraction.limit_threads(n_threads)
    return function(*arguments)
