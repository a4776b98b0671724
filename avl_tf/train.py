"""Trains one stage.

    python -m avl_tf.train --flagfile=demo.flags --run_dir=runs/es

Prints recall before the first step and after every --evaluate_every epochs; the run
directory holds everything (avl_tf/runs lists it). The same command goes on where a
stopped run was.
"""

from absl import flags

from avl_tf import local_paths, program
from avl_tf.settings import stage_flags

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Run directory to make or to resume.", required=True
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Run directory of the stage whose weights this one starts from."
)
stage_flags.define()
flags.register_validator("records", bool)


def main() -> None:
    stage_flags.check(flags.FLAGS)
    local_paths.require_run(_INIT_FROM.value)
    stage_flags.require_paths(flags.FLAGS)

    from avl_tf import training
    from avl_tf.evaluation import tables

    result = training.train_flags(flags.FLAGS, _RUN_DIR.value, _INIT_FROM.value)
    if rows := tables.history_rows(result["history"]):
        print(tables.markdown(rows, tables.SET_COLUMNS))
        stands = result["history"][result["stands"]]["epoch"]
        metric = flags.FLAGS["best_metric"].value
        why = f"the best {metric}" if metric else "the last"
        print(f"\nEpoch {stands}, {why}, stands for {_RUN_DIR.value}.")


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
