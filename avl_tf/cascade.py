"""Trains a tree of stages and prints the papers' table: stage x evaluation set.

    python -m avl_tf.cascade --flagfile=cascade_demo.flags --run_dir=runs/demo

Each stage starts from its parent's weights or from scratch, is evaluated on every set
before its first step (zero-shot) and after its last, and is exported. Finished stages
are skipped when the command is run again. RUN_DIR gets cascade.json, cascade.md, the
table in TensorBoard, and a run directory a stage.
"""

import dataclasses
import os
import re

import keras
import tensorflow as tf
from absl import flags, logging

from avl_tf import comma_lists, evaluation, files, program, reporting, runs, serving
from avl_tf.errors import UserError
from avl_tf.evaluation import lineage, tables
from avl_tf.training import stage_flags
from avl_tf.training.tensorboard_log import TensorBoardLog

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


@dataclasses.dataclass(frozen=True)
class _Stage:
    name: str
    flagfile: str
    parent: str | None


def main() -> None:
    if os.environ.get("TF_CONFIG"):
        raise UserError(
            "TF_CONFIG is set: a cascade runs on one machine. Train each stage with "
            "avl_tf.train instead."
        )
    stages = _parse_stages(_STAGES.value)
    sets = evaluation.parse_sets(_EVALUATE.value)
    # Every mistake in a flagfile shows before the first hour of training.
    parsed = {stage.name: stage_flags.read_flagfile(stage.flagfile) for stage in stages}
    rows: list[dict] = []
    lines: dict[str, lineage.Line] = {}
    for stage in stages:
        flag_values = parsed[stage.name]
        flag_values["evaluate"].value = _EVALUATE.value
        run_dir = files.join(_RUN_DIR.value, stage.name)
        parent = stage.parent
        if parent in parsed:
            parent = files.join(_RUN_DIR.value, parent)
        keras.utils.clear_session()
        result = stage_flags.train(flag_values, run_dir, parent)
        before = lines.get(stage.parent or "") or lineage.line_of(stage.parent)
        lines[stage.name] = (*before, (stage.name, runs.read_info(run_dir).languages))
        rows += lineage.stage_rows(stage.name, stage.parent, result, sets)
        if _EXPORT.value and not tf.io.gfile.exists(serving.folder(run_dir)):
            logging.info("exported %s", serving.export(run_dir))
    rows = lineage.random_rows(sets, tables.directions(rows)) + rows
    text = lineage.table(rows, lines, sets)
    files.write_json(
        files.join(_RUN_DIR.value, "cascade.json"),
        {"synthetic": lineage.is_synthetic(sets), "rows": rows},
    )
    files.write_text(files.join(_RUN_DIR.value, "cascade.md"), text + "\n")
    log = TensorBoardLog(_RUN_DIR.value)
    log.text("cascade", text)
    log.close()
    page = reporting.write(_RUN_DIR.value)
    print(f"{text}\n\nThe curves: {page}")


def _parse_stages(items: list[str]) -> list[_Stage]:
    stages: list[_Stage] = []
    comma_lists.require_no_path_cut(items, "stages")
    for item in items:
        match = re.fullmatch(r"([\w.-]+)=([^@]+?)(?:@(.+))?", item.strip())
        if not match:
            raise UserError(
                f"--stages: expected name=flagfile[@parent], got '{item}'. "
                f"{comma_lists.RULE}"
            )
        stage = _Stage(*match.groups())
        names = [earlier.name for earlier in stages]
        if stage.name in (*names, "random"):
            raise UserError(f"--stages: the name '{stage.name}' is taken.")
        parent = stage.parent
        if parent and os.path.exists(whole := f"{stage.flagfile}@{parent}"):
            raise UserError(
                f"--stages: the @ in '{whole}', which is there, is read as the end of "
                "a flagfile's path. Rename the file or its folder."
            )
        if parent and parent not in names and not runs.exists(parent):
            raise UserError(
                f"--stages: '{stage.name}' starts from '{parent}', which is no stage "
                "before it and no run directory."
            )
        stages.append(stage)
    return stages


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
