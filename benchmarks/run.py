"""Measures avl_tf against the alternatives, and prints a table.

    python -m benchmarks.run [--only=log_mel,ranks] [--quick] [--show]

Writes the rows to benchmarks/results.json; docs/performance.md explains them. What runs
beside it spoils the figures: keep the machine quiet. With --only the other groups' rows
stay as they are.
"""

import os
import pathlib
import platform

from absl import flags, logging

from avl_tf import program
from avl_tf.errors import UserError
from benchmarks import (
    bilingual,
    export,
    extraction,
    help,
    indexing,
    log_mel,
    ranks,
    reading,
    rows,
    search,
    steps,
    sweep,
)

GROUPS = {
    "log_mel": log_mel.measure,
    "reading": reading.measure,
    "steps": steps.measure,
    "bilingual": bilingual.measure,
    "ranks": ranks.measure,
    "export": export.measure,
    "extraction": extraction.measure,
    "help": help.measure,
    "indexing": indexing.measure,
    "search": search.measure,
    "sweep": sweep.measure,
}
RESULTS = str(pathlib.Path(__file__).with_name("results.json"))

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
    logging.info("on %s", machine())
    kept = rows.read(out) if _ONLY.value and out and os.path.exists(out) else []
    for group in _ONLY.value or GROUPS:
        logging.info("measuring %s", group)
        found = GROUPS[group](_QUICK.value)
        for row in found:
            logging.info("%s: %s", row.name, row.note)
        kept = rows.merged(kept, [row.to_json() for row in found])
        if out:  # after each group: the next may fail
            rows.write(out, kept)
    print(rows.table(kept))


def machine() -> str:
    """The processor, its cores and how busy they are."""
    name = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = models[0] if models else name
    cores = len(os.sched_getaffinity(0))
    return f"{name}, {cores} cores, load before {os.getloadavg()[0]:.1f}"


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
