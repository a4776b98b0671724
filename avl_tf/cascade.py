"""Trains a tree of stages and prints the papers' table: stage x evaluation set.

    python -m avl_tf.cascade --flagfile=configs/cascade_demo.flags --run_dir=runs/demo

Each stage starts from its parent's weights or from scratch, is evaluated on every set
before its first step (zero-shot) and after its last, and is exported. Finished stages
are skipped when the command is run again. RUN_DIR gets cascade.json, cascade.md, the
table in TensorBoard, and a run directory a stage.
"""

import dataclasses
import os
import re

import tensorflow as tf
from absl import flags, logging

from avl_tf import evaluation, files, metrics, program, runs, serving
from avl_tf.errors import UserError
from avl_tf.evaluation import tables
from avl_tf.training import stage_flags, tensorboard_log

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the whole cascade.")
_STAGES = flags.DEFINE_list(
    "stages",
    None,
    "name=flagfile[@parent] with commas between; a parent is a stage that stands "
    "before its children, or the run directory of a finished run.",
)
_EVALUATE = flags.DEFINE_list(
    "evaluate",
    None,
    "Evaluation sets of every stage, name=records with commas between.",
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
    rows = [
        {"stage": "random", "parent": None, "set": name, "when": when}
        | metrics.chance(records.n_clips)
        for name, records in sets.items()
        for when in ("zero_shot", "final")
    ]
    lineages: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for stage in stages:
        flag_values = parsed[stage.name]
        flag_values.evaluate = _EVALUATE.value
        run_dir = files.join(_RUN_DIR.value, stage.name)
        parent = stage.parent
        if parent in parsed:
            parent = files.join(_RUN_DIR.value, parent)
        tf.keras.backend.clear_session()
        result = stage_flags.train(flag_values, run_dir, parent)
        spoken = runs.read_info(run_dir).languages
        before = lineages.get(stage.parent or "") or _lineage(stage.parent)
        lineages[stage.name] = [*before, (stage.name, spoken)]
        first = result["history"][0]
        last = result["history"][result["stands"]]
        rows += [
            {"stage": stage.name, "parent": stage.parent, "set": name, "when": when}
            | entry["sets"][name]
            for name in sets
            for when, entry in (("zero_shot", first), ("final", last))
        ]
        if _EXPORT.value and not tf.io.gfile.exists(serving.folder(run_dir)):
            logging.info("exported %s", serving.export(run_dir))
    synthetic = any(records.spec.synthetic for records in sets.values())
    text = _table(rows, lineages, sets, synthetic)
    files.write_json(
        files.join(_RUN_DIR.value, "cascade.json"),
        {"synthetic": synthetic, "rows": rows},
    )
    files.write_text(files.join(_RUN_DIR.value, "cascade.md"), text + "\n")
    writer = tf.summary.create_file_writer(files.join(_RUN_DIR.value, "tensorboard"))
    tensorboard_log.write_text(writer, "cascade", text)
    writer.close()
    print(text)


def _parse_stages(items: list[str]) -> list[_Stage]:
    stages: list[_Stage] = []
    for item in items:
        match = re.fullmatch(r"([\w.-]+)=([^@]+?)(?:@(.+))?", item.strip())
        if not match:
            raise UserError(f"--stages: expected name=flagfile[@parent], got '{item}'.")
        stage = _Stage(*match.groups())
        names = [earlier.name for earlier in stages]
        if stage.name in (*names, "random"):
            raise UserError(f"--stages: the name '{stage.name}' is taken.")
        parent = stage.parent
        if parent and parent not in names and not runs.exists(parent):
            raise UserError(
                f"--stages: '{stage.name}' starts from '{parent}', which is no stage "
                "before it and no run directory."
            )
        stages.append(stage)
    return stages


def _table(rows, lineages, sets, synthetic: bool) -> str:
    """The paper's table: for every set, chance and then what each stage reaches.

    A stage's zero-shot rows are its parent's final ones, so they are shown only where
    the parent is a run from elsewhere.

    Args:
        lineages: stage -> the languages and the names of the stages up to it.
    """
    order = ("random", "target only", "zero-shot", "cascade", "earlier stage")
    shown = []
    for set_name, records in sets.items():
        of_set = []
        for row in rows:
            lineage = lineages.get(row["stage"], [])
            if row["when"] == "zero_shot":
                if row["parent"] is None or row["parent"] in lineages:
                    continue
                lineage = lineage[:-1]
            if row["set"] == set_name:
                setting = _setting(lineage, set(records.spec.languages))
                names = " -> ".join(name for name, _ in lineage) or "-"
                of_set.append({**row, "setting": setting, "stages": names})
        shown += sorted(of_set, key=lambda row: order.index(row["setting"]))
    text = tables.markdown(shown, ("set", "setting", "stages"))
    label = "**Synthetic corpus: drawn shapes and tones, no speech.**\n\n"
    return (label if synthetic else "") + text


def _lineage(run_dir: str | None) -> list[tuple[str, tuple[str, ...]]]:
    """The line of a finished run that a stage starts from, and its languages."""
    if run_dir is None:
        return []
    info = runs.read_info(run_dir)
    return [*_lineage(info.parent), (run_dir.rstrip("/"), info.languages)]


def _setting(lineage, languages: set[str]) -> str:
    """How a line of stages stands to a set's languages, in the paper's words."""
    heard = [bool(languages.intersection(spoken)) for _, spoken in lineage]
    if not heard:
        return "random"
    if not any(heard):
        return "zero-shot"
    if not heard[-1]:
        return "earlier stage"
    return "cascade" if len(heard) > 1 else "target only"


def cli() -> None:
    flags.mark_flags_as_required(["run_dir", "stages", "evaluate"])
    program.run(main)


if __name__ == "__main__":
    cli()
