"""Trains settings side by side, from several seeds, and prints their table.

    python -m avl_tf.sweep --flagfile=ablation_demo.flags --run_dir=runs/ablation

A setting is a name and the flags in which it differs; each is trained through all
--stages from each seed, every stage in a run directory of its own. What two settings
have in common is trained once. RUN_DIR gets sweep.json, sweep.md, sweep.csv, sweep.tex,
TensorBoard's HParams, and with --curve curve.png. What is finished is skipped when the
command is run again, also with more settings or seeds; what was stopped goes on.
"""

import os

from absl import flags

from avl_tf import program, settings
from avl_tf.errors import UserError
from avl_tf.settings.evaluation import ResamplingConfig

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of the whole sweep.", required=True
)
_STAGES = flags.DEFINE_list(
    "stages",
    [],
    "name=flagfile[@parent] with commas between, as of avl_tf.cascade; by default one, "
    "of --base_flagfile.",
)
_BASE_FLAGFILE = flags.DEFINE_string(
    "base_flagfile", None, "What all stages share; their own flagfiles go after it."
)
_SETTING = flags.DEFINE_multi_string(
    "setting",
    [],
    "NAME: --flag=value --flag=value, the flags in which it differs from the stages; "
    "STAGE/--flag=value for one of several stages. STUDY/NAME puts it into the table "
    "of a study, and a plain NAME then stands in each. Once for each setting.",
)
_GRID = flags.DEFINE_multi_string(
    "grid",
    [],
    "flag=a,b,c or STAGE/flag=a,b,c: a setting for each value, or each combination if "
    "given several times; with --setting, each of those with each of these.",
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds of each training.")
_EVALUATE = flags.DEFINE_list(
    "evaluate",
    [],
    "Evaluation sets of every stage, name=records with commas between; by default "
    "those of the stages' flagfiles.",
)
_COLUMNS = flags.DEFINE_list(
    "columns",
    ["R@10"],
    "Recalls in the table, as in R@1,R@10 of every direction or a2v/R@10 of one. "
    "sweep.json has all metrics.",
)
_CURVE = flags.DEFINE_string(
    "curve",
    None,
    "Flag of --grid whose values are numbers: R@10 is drawn over them too, as in "
    "Figure 3 of the cascaded paper.",
)
_AT_ONCE = flags.DEFINE_integer(
    "at_once",
    0,
    "Trainings side by side, each with its share of the cores; 0 is one for two cores, "
    "or a single one with a GPU.",
    0,
    1000,
)
_DRY_RUN = flags.DEFINE_boolean(
    "dry_run",
    False,
    "Look for mistakes and print what would be trained, what of it is finished, and in "
    "which flags each differs from its stage's flagfile; no more.",
)
settings.define_flags(ResamplingConfig, heading="Paired test and intervals")


def main() -> None:
    if os.environ.get("TF_CONFIG"):
        raise UserError(
            "TF_CONFIG is set: a sweep runs on one machine. Train each setting with "
            "avl_tf.train instead."
        )
    from avl_tf.commands import sweep_plan

    plan = sweep_plan.make(
        sweep_plan.Flags(
            stages=_STAGES.value,
            base_flagfile=_BASE_FLAGFILE.value,
            settings=_SETTING.value,
            grid=_GRID.value,
            seeds=_SEEDS.value,
            evaluate=_EVALUATE.value,
            columns=_COLUMNS.value,
            curve=_CURVE.value,
        )
    )

    if plan.absent and not _DRY_RUN.value:
        raise UserError(plan.absent)

    from avl_tf.commands import sweeping

    resampling = settings.from_flags(ResamplingConfig)
    sweeping.sweep(_RUN_DIR.value, plan, _AT_ONCE.value, resampling, _DRY_RUN.value)


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
