r"""Finds clips of two languages that say alike, without a word of text.

    python -m avl_tf.mine --run_dir=runs/bilingual/ro/full/seed0 \
        --records=es=data/bilingual/es/records/eval,ro=data/bilingual/ro/records/eval \
        --tsv=pairs.tsv

Every clip is embedded by the branch of its language, or by the only one there is (of a
cascade). Clips that are each other's best go into the file, the surest first: a line a
pair, with the margin, the similarity, both clips, and whether they are of the same
recording, by which images and videos in two languages are known to belong together.
Prints how many of the pairs are, where any could be. For the recall of one language by
the other see avl_tf.evaluate, --evaluate=NAME=es=RECORDS+ro=RECORDS.
"""

from absl import flags

from avl_tf import comma_lists, local_paths, program, settings
from avl_tf.errors import UserError

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Run directory of a trained stage.")
_EXPORT = flags.DEFINE_string("export", None, "Instead: an export, RUN_DIR/export/1.")
_RECORDS = flags.DEFINE_list(
    "records", None, "Two sets, LANGUAGE=RECORDS,LANGUAGE=RECORDS.", required=True
)
_TSV = flags.DEFINE_string("tsv", None, "File to write the pairs to.", required=True)
_N_NEIGHBOURS = flags.DEFINE_integer(
    "n_neighbours",
    4,
    "Nearest clips in the other language that a pair must stand out from (Artetxe and "
    "Schwenk 2019: 4).",
    1,
    1000,
)
_LEAST_MARGIN = settings.define_float(
    "least_margin",
    1.0,
    "Pairs of a lower margin are left out; 1 is as near as the neighbours on average.",
    0,
    1e6,
)
program.require_one("run_dir", "export")


def main() -> None:
    named = comma_lists.parse_named(_RECORDS.value, "records", "RECORDS")
    if len(named) != 2:
        raise UserError(
            f"--records: expected two languages, es=RECORDS,ro=RECORDS, got "
            f"{len(named)}."
        )
    local_paths.require_run(_RUN_DIR.value)
    local_paths.require_folder(_EXPORT.value, "not an export of a run")
    for path in named.values():
        local_paths.require_records(path)

    from avl_tf.commands import mining

    mining.mine(
        _RUN_DIR.value or _EXPORT.value or "",
        named,
        _TSV.value,
        _N_NEIGHBOURS.value,
        _LEAST_MARGIN.value,
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
