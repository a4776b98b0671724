"""Work on this machine's worker processes, whatever dies; no TensorFlow here."""

import contextlib
import logging as standard_logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")
_PATIENCE_S = 30


def run(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], n_workers: int
) -> Iterator[tuple[_Task, _Result | None]]:
    """Computes function(task) for all tasks on worker processes.

    Args:
        function: of a module, not of __main__; it does not raise.
        tasks: what it takes.
        n_workers: processes, at most; no more are started than there are tasks.

    Yields:
        (task, result) in the order in which they get done; a result of None means that
        the process died over the task, twice.
    """
    if not tasks:
        return
    n_workers = min(n_workers, len(tasks))
    standard_logging.getLogger("distributed").setLevel(standard_logging.CRITICAL)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=standard_logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        futures = {client.submit(function, task, pure=False): task for task in tasks}
        for future in as_completed(list(futures)):
            try:
                yield futures[future], future.result()
            except KilledWorker:
                yield futures[future], None
                # A cluster that is closed while a worker starts anew fails to.
                with contextlib.suppress(TimeoutError):
                    client.wait_for_workers(n_workers, _PATIENCE_S)
