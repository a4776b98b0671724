r"""Writes records anew in another storage: float16, or int8 in half the bytes.

    python -m data_prep.convert --records=data/demo/es/records --storage=int8 \
        --out_dir=data/demo/es/int8

All splits of the folder are written, shard by shard. Run again after a stop, it makes
only the shards that are missing. What int8 costs in recall is in docs/training.md.
"""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf
from absl import flags
from tqdm import tqdm

from avl_tf import dataset, program, records
from avl_tf.records import stored_arrays
from data_prep import jobs, shards

_RECORDS = flags.DEFINE_string(
    "records", None, "Folder of records to read.", required=True
)
_STORAGE = flags.DEFINE_enum(
    "storage", "int8", stored_arrays.STORAGES, "How arrays are written."
)
_OUT_DIR = flags.DEFINE_string(
    "out_dir", None, "Folder for shards and spec.json.", required=True
)


def main() -> None:
    source = records.open_records(_RECORDS.value)
    folder, storage = _OUT_DIR.value.rstrip("/"), _STORAGE.value
    spec = dataclasses.replace(source.spec, shards={}, storage=storage)
    read = source.fingerprint, source.shards
    job = jobs.Job(spec, jobs.digest(read), {}, lambda: repr((*read, storage)))
    jobs.claim(folder, job)
    results = []
    for name in tqdm(source.shards, unit="shard", disable=None):
        result = shards.read_result(folder, name)
        results.append(result or shards.write(folder, name, _encoded(source, name)))
    shards.finish(folder, spec, results)


def _encoded(source: records.RecordSet, shard: str) -> Iterator[tuple[bytes, int]]:
    decoded = (
        records.decode(serialized.numpy(), source.spec)
        for serialized in tf.data.TFRecordDataset(source.path(shard))
    )
    for record in dataset.read(decoded, source):
        yield records.encode(record, _STORAGE.value), record.n_clips


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
