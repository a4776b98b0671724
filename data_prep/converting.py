"""What data_prep.convert does: records read and written anew, shard by shard."""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from avl_tf import dataset, progress, records
from data_prep import jobs, shards


def convert(path: str, storage: str, folder: str) -> None:
    """Writes all splits of a folder of records into another, in another storage.

    Raises:
        ValueError, OSError: there are no such records, one is damaged, or the folder
            holds other work or cannot be written.
    """
    source = records.open_records(path)
    spec = dataclasses.replace(source.spec, shards={}, storage=storage)
    read = source.fingerprint, source.shards
    job = jobs.Job(spec, jobs.digest(read), {}, lambda: repr((*read, storage)))
    jobs.claim(folder, job)
    results = []
    for name in progress.Bar(source.shards, unit="shard"):
        result = shards.read_result(folder, name)
        if not result:
            result = shards.write(folder, name, _encoded(source, name, storage))
        results.append(result)
    shards.finish(folder, spec, results)


def _encoded(
    source: records.RecordSet, shard: str, storage: str
) -> Iterator[tuple[bytes, int]]:
    decoded = (
        records.decode(serialized.numpy(), source.spec)
        for serialized in tf.data.TFRecordDataset(source.path(shard))
    )
    for record in dataset.read(decoded, source):
        yield records.encode(record, storage), record.n_clips
