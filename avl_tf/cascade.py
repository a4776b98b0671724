"""Trains a tree of stages and prints the papers' table: stage x evaluation set.

    python -m avl_tf.cascade --flagfile=cascade_demo.flags --run_dir=runs/demo

Each stage starts from its parent's weights or from scratch, is evaluated on every set
before its first step (zero-shot) and after its last, and is exported. Finished stages
are skipped when the command is run again. RUN_DIR gets cascade.json, cascade.md, the
table in TensorBoard, and a run directory a stage.
"""

import os

from absl import flags

from avl_tf import comma_lists, local_paths, program
from avl_tf.errors import UserError
from avl_tf.settings import stage_flags
from avl_tf.settings.stage_flags import CascadeStage

_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of the whole cascade.", required=True
)
_STAGES = flags.DEFINE_list(
    "stages",
    None,
    "name=flagfile[@parent] with commas between; a parent is a stage that stands "
    "before its children, or the run directory of a finished run.",
    required=True,
)
_EVALUATE = flags.DEFINE_list(
    "evaluate",
    None,
    "Evaluation sets of every stage, name=records with commas between.",
    required=True,
)
_EXPORT = flags.DEFINE_boolean("export", True, "Export each stage as a SavedModel.")
_AT_ONCE = flags.DEFINE_integer(
    "at_once",
    1,
    "Stages side by side, where one does not wait for the other: each in a process "
    "that uses all cores, with a log in RUN_DIR/logs. The results are the same. With a "
    "GPU always 1.",
    1,
    1000,
)


def main() -> None:
    if os.environ.get("TF_CONFIG"):
        raise UserError(
            "TF_CONFIG is set: a cascade runs on one machine. Train each stage with "
            "avl_tf.train instead."
        )
    named = comma_lists.parse_evaluate(_EVALUATE.value)
    # Every mistake in a flagfile shows before the first hour of training.
    stages = _parse_stages(_STAGES.value)
    for paths in named.values():
        for path in paths.values():
            local_paths.require_records(path)
    for stage in stages:
        stage_flags.require_paths(stage.flag_values)
        if stage.parent not in [each.name for each in stages]:
            local_paths.require_run(stage.parent)

    from avl_tf.commands import cascading

    cascading.train(
        _RUN_DIR.value, stages, _EVALUATE.value, _EXPORT.value, _AT_ONCE.value
    )


def _parse_stages(items: list[str]) -> list[CascadeStage]:
    stages: list[CascadeStage] = []
    comma_lists.require_no_path_cut(items, "stages")
    for item in items:
        match = comma_lists.match_stage(item)
        if not match:
            raise UserError(
                f"--stages: expected name=flagfile[@parent], got '{item}'. "
                f"{comma_lists.RULE}"
            )
        name, flagfile, parent = match.groups()
        names = [earlier.name for earlier in stages]
        if name in (*names, "random"):
            raise UserError(f"--stages: the name '{name}' is taken.")
        if parent and os.path.exists(whole := f"{flagfile}@{parent}"):
            raise UserError(
                f"--stages: the @ in '{whole}', which is there, is read as the end of "
                "a flagfile's path. Rename the file or its folder."
            )
        known = parent is None or parent in names or "://" in parent
        if not known and not os.path.isdir(parent):
            raise UserError(
                f"--stages: '{name}' starts from '{parent}', which is no stage before "
                "it and no run directory."
            )
        stages.append(CascadeStage(name, _read_flagfile(flagfile), parent))
    return stages


def _read_flagfile(path: str) -> flags.FlagValues:
    if "://" not in path:
        return stage_flags.read_flagfile(path)

    from avl_tf import files

    with files.local_copy(path) as local:
        return stage_flags.read_flagfile(local, path)


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
