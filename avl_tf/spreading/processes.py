"""Work on worker processes, whatever dies; no TensorFlow here.

The processes are this machine's, or those of a dask cluster that is there already. None
of them is waited for in vain: while nothing gets done, the workers are looked after.
"""

import asyncio
import contextlib
import functools
import itertools
import logging as standard_logging
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import dask
from absl import logging
from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
)
from distributed.comm import CommClosedError
from distributed.utils import LoopRunner

from avl_tf import offspring
from avl_tf.errors import UserError
from avl_tf.spreading import scheduler

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_TASKS_AHEAD = 1000
_LOOK_EVERY_S = 1.0
# Without any worker for that long, none is expected any more.
_PATIENCE_S = 180.0
_CLOSE_S = 10.0
_SETTINGS = {
    # A task may lose its worker once by bad luck; twice, and it is to blame.
    "distributed.scheduler.allowed-failures": 1,
    # Dask's own makes the C library give memory back after every layer of a CNN, to ask
    # for it anew: a quarter of the CPU time.
    "distributed.nanny.pre-spawn-environ": {},
    # So long after a worker's death, if it is then away once more, dask's local cluster
    # gives it up for good: a few deaths at the wrong moment, and nobody is left.
    "distributed.deploy.lost-worker-timeout": "1000 days",
}


class Processes:
    """Worker processes, started when they are first needed; a context manager.

    Args:
        n_workers: processes on this machine.
        scheduler: address of a dask scheduler, whose workers are used instead.
    """

    def __init__(self, n_workers: int, scheduler: str = ""):
        self._n_workers, self._scheduler = n_workers, scheduler
        self._resources = contextlib.ExitStack()
        self._dead: set[int | str] = set()  # names of nannies
        self._last_seen = time.monotonic()
        self._warned = False

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *error) -> None:
        self._resources.__exit__(*error)

    def run(
        self,
        function: Callable[..., _Result],
        *arguments: Any,
        by_each: bool = False,
    ) -> _Result:
        """Returns function(*arguments), computed by a worker.

        Args:
            by_each: every worker of this machine computes it, so that what it loads is
                there for the tasks that follow; all are waited for.

        Raises:
            KilledWorker: two workers died over it (of a cluster, as many as its
                scheduler allows).
            ConnectionError: the scheduler is gone, or has no worker any more.
            ChildProcessError: worker processes of this machine die as they start.
            ValueError: the workers cannot run our code.
            Whatever the function raises.
        """
        finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        n_times = self._n_workers if by_each and not self._scheduler else 1
        # Held, or dask would forget them.
        futures = [self._submit(finished, function, *arguments) for _ in range(n_times)]
        return [self._result(self._next(finished)) for _ in futures][0]

    def each(
        self,
        function: Callable[[_Task], _Result],
        tasks: Iterable[_Task],
        suspects: list[_Task],
    ) -> Iterator[tuple[_Task, _Result]]:
        """Computes function(task) for all tasks; raises as run does.

        Args:
            function: of a module, not of __main__.
            tasks: what it takes.
            suspects: gets the tasks over which workers died. They may be innocent: a
                task that waits at a worker shares the blame for its death. Computed by
                run, when no other is, they cannot be.

        Yields:
            (task, result) in the order in which they get done.
        """
        finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        waiting = iter(tasks)
        running: dict[Future, _Task] = {}
        # A task for each worker, so that few share the blame when one dies. What a
        # scheduler knows of does not grow with the tasks, and a large cluster is busy.
        n_ahead = _TASKS_AHEAD if self._scheduler else self._n_workers
        for task in itertools.islice(waiting, n_ahead):
            running[self._submit(finished, function, task)] = task
        try:
            while running:
                future = self._next(finished)
                done = running.pop(future)
                # Before the next task is there, which may kill the worker with it.
                results = []
                try:
                    results.append((done, self._result(future)))
                except KilledWorker:
                    suspects.append(done)
                for task in itertools.islice(waiting, 1):
                    running[self._submit(finished, function, task)] = task
                yield from results
        finally:  # of an error, or of a caller who wants no more
            if running:
                with contextlib.suppress(OSError):
                    self._client.cancel(list(running))

    def _submit(self, finished, function: Callable, *arguments: Any) -> Future:
        future = self._client.submit(function, *arguments, pure=False)
        future.add_done_callback(finished.put)
        return future

    def _next(self, finished) -> Future:
        """Waits for a future to finish."""
        self._last_seen = time.monotonic()
        while True:
            try:
                return finished.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                self._look_after_workers()

    def _result(self, future: Future) -> Any:
        """What a finished future holds; computed once more if its worker has died."""
        limit_s: float | None = _LOOK_EVERY_S
        while True:
            try:
                if future.status == "error":
                    limit_s = None  # whatever it raises, a timeout too, is its own
                return future.result(timeout=limit_s)
            except asyncio.TimeoutError:  # the builtin one from Python 3.11 on
                if limit_s is None:
                    raise
                self._look_after_workers()
                limit_s *= 2  # a large result starts anew with each attempt
            except (CancelledError, CommClosedError) as error:
                where = f" at {self._scheduler}" if self._scheduler else ""
                raise ConnectionError(
                    f"The dask scheduler{where} is gone. Run the same command again: "
                    "what is finished is kept."
                ) from error
            except ImportError as error:
                raise UserError(
                    f"The workers at {self._scheduler or 'this machine'} cannot run "
                    f"data_prep ({error}). Install avl_tf there, with the versions of "
                    "this machine."
                ) from error

    def _look_after_workers(self) -> None:
        if not self._scheduler:
            # In the thread of dask's loop, whose objects these are.
            with contextlib.suppress(asyncio.TimeoutError):
                self._cluster.sync(self._replace_nannies, callback_timeout=_CLOSE_S)
        with contextlib.suppress(OSError):
            if self._client.nthreads():
                self._last_seen, self._warned = time.monotonic(), False
        waited_s = time.monotonic() - self._last_seen
        if waited_s > _PATIENCE_S:
            raise self._lost_all(f"for {waited_s:.0f} s")
        if waited_s > 2 * _LOOK_EVERY_S and not self._warned:
            self._warned = True
            logging.warning(
                "No worker is there; waiting %.0f s for one to come back.", _PATIENCE_S
            )

    async def _replace_nannies(self) -> None:
        """A nanny starts its worker again; one found without it twice does not."""
        nannies = self._cluster.workers
        dead = {name for name, nanny in nannies.items() if not nanny.is_alive()}
        for name in dead & self._dead:
            logging.warning("A worker process did not come back; starting another.")
            nanny = nannies.pop(name)
            with contextlib.suppress(Exception):  # it is of no use any more
                await asyncio.wait_for(nanny.close(), _CLOSE_S / 2)
        self._dead = dead
        if len(nannies) < self._n_workers:
            self._cluster.scale(self._n_workers)

    def _lost_all(self, since: str) -> OSError:
        if self._scheduler:
            return ConnectionError(
                f"The dask scheduler at {self._scheduler} has had no worker {since}. "
                f"Start some ({scheduler.worker_command(self._scheduler)}) and run the "
                "same command again: what is finished is kept."
            )
        return ChildProcessError(
            f"The worker processes of this machine die as they start ({since}). Is "
            "there enough memory? Run the same command again, perhaps with fewer "
            "--workers: what is finished is kept."
        )

    @functools.cached_property
    def _cluster(self) -> LocalCluster:
        # Its threads start the workers, today and when one has died.
        with offspring.starting():
            loop = LoopRunner()
            loop.start()
        self._resources.callback(loop.stop)
        try:
            cluster = LocalCluster(
                loop=loop.loop,
                n_workers=self._n_workers,
                threads_per_worker=1,
                memory_limit=0,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=standard_logging.CRITICAL,
            )
        except (RuntimeError, asyncio.TimeoutError) as error:
            raise self._lost_all(str(error) or "no answer") from error
        self._resources.callback(_close, cluster)
        return cluster

    @functools.cached_property
    def _client(self) -> Client:
        for name in ("distributed", "distributed.client"):  # the second has its own
            standard_logging.getLogger(name).setLevel(standard_logging.CRITICAL)
        if self._scheduler:
            return self._resources.enter_context(scheduler.connect(self._scheduler))
        self._resources.enter_context(dask.config.set(_SETTINGS))
        client = Client(self._cluster, set_as_default=False)
        return self._resources.enter_context(client)


def run(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], n_workers: int
) -> Iterator[tuple[_Task, _Result | None]]:
    """Computes function(task) for all tasks on worker processes of this machine.

    Args:
        function: of a module, not of __main__; it does not raise.
        tasks: what it takes.
        n_workers: processes, at most; no more are started than there are tasks.

    Yields:
        (task, result) in the order in which they get done; a result of None means that
        the process died over the task, twice while it had no other.

    Raises:
        ChildProcessError: processes die as they start.
    """
    if not tasks:
        return
    with Processes(min(n_workers, len(tasks))) as processes:
        suspects: list[_Task] = []
        yield from processes.each(function, tasks, suspects)
        for task in suspects:
            try:
                yield task, processes.run(function, task)
            except KilledWorker:
                yield task, None


def _close(cluster: LocalCluster) -> None:
    # A nanny whose worker dies while it starts can keep the cluster waiting for ever;
    # the processes that are left end with this one.
    with contextlib.suppress(Exception):  # what was to do is done
        cluster.close(timeout=_CLOSE_S)
