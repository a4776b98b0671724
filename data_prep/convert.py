r"""Writes records anew in another storage: float16, or int8 in half the bytes.

    python -m data_prep.convert --records=data/demo/es/records --storage=int8 \
        --out_dir=data/demo/es/int8

All splits of the folder are written, shard by shard. Run again after a stop, it makes
only the shards that are missing. What int8 costs in recall is in docs/training.md.
"""

from absl import flags

from avl_tf import local_paths, program
from avl_tf.settings.stored import STORAGES

_RECORDS = flags.DEFINE_string(
    "records", None, "Folder of records to read.", required=True
)
_STORAGE = flags.DEFINE_enum("storage", "int8", STORAGES, "How arrays are written.")
_OUT_DIR = flags.DEFINE_string(
    "out_dir", None, "Folder for shards and spec.json.", required=True
)


def main() -> None:
    local_paths.require_records(_RECORDS.value)

    from data_prep import converting

    converting.convert(_RECORDS.value, _STORAGE.value, _OUT_DIR.value.rstrip("/"))


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
