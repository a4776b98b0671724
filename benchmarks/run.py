"""Measures avl_tf against the alternatives, and prints a table.

    python -m benchmarks.run [--only=log_mel,ranks] [--quick] [--avx2] [--show]

Writes the rows to benchmarks/results.json; docs/performance.md explains them. What runs
beside it spoils the figures: keep the machine quiet. The rows of groups that are not
measured stay as they are.
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
)
# Measured if they are named: for docs/search.md and docs/experiments.md.
OTHER_GROUPS = ("indexing", "search", "sweep")
# Whose time is oneDNN's; of others name them.
AVX2_GROUPS = ("steps",)

flags.adopt_module_key_flags(search)
_ONLY = flags.DEFINE_list(
    "only",
    [],
    f"Groups to measure, of {', '.join(GROUPS)} (all of these if empty), "
    f"{', '.join(OTHER_GROUPS)}.",
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
_AVX2 = flags.DEFINE_boolean(
    "avx2",
    False,
    "Measure with AVX-512 hidden, as a column of its own; kept beside --out, as "
    "..._avx2.json. By default the group steps.",
)
_SHOW = flags.DEFINE_boolean("show", False, "Print the last table, measure nothing.")


def main() -> None:
    known = (*GROUPS, *OTHER_GROUPS)
    if unknown := set(_ONLY.value) - set(known):
        raise UserError(
            f"--only={','.join(sorted(unknown))}: the groups are {', '.join(known)}."
        )
    results = _OUT.value or RESULTS
    if _SHOW.value:
        print(rows.table(rows.read(results), _kept(_with_avx2(results))))
        return
    out = results if _OUT.value or not _QUICK.value else None
    if _AVX2.value:
        if not machine.has_avx512():
            raise UserError("--avx2: this processor has no AVX-512 to hide.")
        os.environ |= machine.WITHOUT_AVX512
        out = out and _with_avx2(out)
    about = machine.describe()
    logging.info(
        "on %s (%s), %d cores, load before %.1f",
        about["cpu"],
        about["instruction_set"],
        about["cores"],
        machine.load(),
    )
    kept = _kept(out)
    for group in _ONLY.value or (AVX2_GROUPS if _AVX2.value else GROUPS):
        logging.info("measuring %s", group)
        started, load_before = time.monotonic(), machine.load()
        found = importlib.import_module(f"benchmarks.{group}").measure(_QUICK.value)
        of_group = {
            "group": group,
            "group_s": round(time.monotonic() - started, 1),
            "load": [load_before, machine.load()],
            "machine": about,
            "quick": _QUICK.value,
        }
        logging.info("%s took %.0f s", group, of_group["group_s"])
        for row in found:
            logging.info("%s: %s", row.name, row.note)
        kept = rows.merged(kept, [row.to_json() | of_group for row in found])
        if out:  # after each group: the next may fail
            rows.write(out, kept)
    print(rows.table(kept, [] if _AVX2.value or not out else _kept(_with_avx2(out))))


def _with_avx2(path: str) -> str:
    """The file of the rows that --avx2 measures, beside that of the others."""
    return f"{path.removesuffix('.json')}_avx2.json"


def _kept(path: str | None) -> list[dict]:
    return rows.read(path) if path and os.path.exists(path) else []


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
