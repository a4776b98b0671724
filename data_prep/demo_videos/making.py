"""Makes the files of a corpus in several processes."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from avl_tf import offspring, progress


def make_all(
    make: Callable[..., None], jobs: Sequence[tuple], n_workers: int, unit: str
) -> None:
    """Calls make(*job) for every job, in n_workers processes.

    Args:
        make: can be pickled, and is sent to a process once.
        jobs: arguments.
        n_workers: number of processes, at most.
        unit: what a job makes, for the progress bar.

    Raises:
        ChildProcessError: a process died.
        Exception: what make raises; jobs that have not been begun are left.
    """
    # Spawned, not forked: decoders have run in this process and left threads and locks.
    pool = ProcessPoolExecutor(
        max(1, min(n_workers, len(jobs))),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_worker,
        initargs=(make,),
    )
    try:
        with pool:
            with offspring.starting():
                futures = [pool.submit(_make, job) for job in jobs]
            done = as_completed(futures)
            try:
                for one in progress.Bar(done, total=len(jobs), unit=unit):
                    one.result()
            except KeyboardInterrupt:
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
            except Exception:
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps for want of memory. Run again with fewer "
            f"--workers: every {unit} that is whole is kept."
        ) from error


_worker: dict[str, Any] = {}


def _set_worker(make: Callable[..., None]) -> None:
    _worker["make"] = make


def _make(job: tuple) -> None:
    _worker["make"](*job)
