"""Extraction on worker processes: tasks in, finished shards out, whatever dies."""

import logging as standard_logging
from collections.abc import Iterator

import dask
from absl import logging
from distributed import Client, KilledWorker, LocalCluster, as_completed

from data_prep import extraction
from data_prep.extraction import ShardTask
from data_prep.shards import ShardResult


def make_shards(tasks: list[ShardTask], n_workers: int) -> Iterator[ShardResult]:
    """Makes shards on local worker processes, in the order in which they get done."""
    n_threads = max(1, extraction.n_cores() // n_workers)
    # A task may lose its worker once by bad luck; twice, and it is to blame.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=0,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=standard_logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(extraction.LimitThreads(n_threads))
        futures = {
            client.submit(extraction.extract_shard, task, pure=False): task
            for task in tasks
        }
        for future in as_completed(list(futures)):
            try:
                yield future.result()
            except KilledWorker:
                yield _one_by_one(client, futures[future])


def _one_by_one(client: Client, task: ShardTask) -> ShardResult:
    """Makes a shard that kills its worker: the recording to blame is left out."""
    logging.warning("%s kills its worker; trying its recordings singly", task.name)
    extracted = []
    for recording in task.recordings:
        future = client.submit(
            extraction.extract_or_explain, recording, task.config, pure=False
        )
        try:
            extracted.append(future.result())
        except KilledWorker:
            reason = "the worker process died over it, again and again"
            extracted.append(extraction.failed(recording, reason))
    return extraction.write_shard(task, extracted)
