"""Measures avl_tf against the alternatives, and prints a table.

    python -m benchmarks.run [--only=log_mel,ranks] [--quick] [--show]

Writes the rows to benchmarks/results.json; docs/performance.md explains them. What runs
beside it spoils the figures: keep the machine quiet. With --only the other groups' rows
stay as they are.
"""

import importlib
import os
import time

from absl import flags, logging

from avl_tf import program
from avl_tf.errors import UserError
from benchmarks import machine, rows, search
from benchmarks.rows import RESULTS

# Modules of this folder, imported when they are wanted: most import TensorFlow.
GROUPS = (
    "log_mel",
    "reading",
    "steps",
    "bilingual",
    "ranks",
    "export",
    "evaluation",
    "extraction",
    "help",
    "indexing",
    "search",
)

flags.adopt_module_key_flags(search)
_ONLY = flags.DEFINE_list(
    "only", [], f"Groups to measure, of {', '.join(GROUPS)}; all if empty."
)
_QUICK = flags.DEFINE_boolean(
    "quick",
    False,
    "Tiny sizes: shows that all works. The figures say nothing, and are written only "
    "with --out.",
)
_OUT = flags.DEFINE_string(
    "out", None, "The JSON file of the rows; benchmarks/results.json by default."
)
_SHOW = flags.DEFINE_boolean("show", False, "Print the last table, measure nothing.")


def main() -> None:
    unknown = set(_ONLY.value) - set(GROUPS)
    if unknown:
        raise UserError(
            f"--only={','.join(sorted(unknown))}: the groups are {', '.join(GROUPS)}."
        )
    out = _OUT.value or (None if _QUICK.value else RESULTS)
    if _SHOW.value:
        print(rows.table(rows.read(out or RESULTS)))
        return
    about = machine.describe()
    logging.info(
        "on %s (%s), %d cores, load before %.1f",
        about["cpu"],
        about["instruction_set"],
        about["cores"],
        machine.load(),
    )
    kept = rows.read(out) if _ONLY.value and out and os.path.exists(out) else []
    for group in _ONLY.value or GROUPS:
        logging.info("measuring %s", group)
        started, load_before = time.monotonic(), machine.load()
        found = importlib.import_module(f"benchmarks.{group}").measure(_QUICK.value)
        of_group = {
            "group": group,
            "group_s": round(time.monotonic() - started, 1),
            "load": [load_before, machine.load()],
            "machine": about,
        }
        logging.info("%s took %.0f s", group, of_group["group_s"])
        for row in found:
            logging.info("%s: %s", row.name, row.note)
        kept = rows.merged(kept, [row.to_json() | of_group for row in found])
        if out:  # after each group: the next may fail
            rows.write(out, kept)
    print(rows.table(kept))


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
