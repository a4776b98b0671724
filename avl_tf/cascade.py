"""Trains a tree of stages and prints the papers' table: stage x evaluation set.

    python -m avl_tf.cascade --flagfile=configs/cascade_demo.flags --run_dir=runs/demo

Each stage starts from its parent's weights or from scratch, is evaluated on every set
before its first step (zero-shot) and after its last, and is exported. Finished stages
are skipped when the command is run again. RUN_DIR gets cascade.json, cascade.md, the
table in TensorBoard, and a run directory a stage.
"""

import dataclasses
import re

import tensorflow as tf
from absl import flags, logging

from avl_tf import (
    board,
    evaluation,
    files,
    metrics,
    program,
    serving,
    stage_flags,
    tables,
)

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the whole cascade.")
_STAGES = flags.DEFINE_list(
    "stages",
    None,
    "name=flagfile[@parent] with commas between; a parent stands before its children.",
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
    for stage in stages:
        flag_values = parsed[stage.name]
        flag_values.evaluate = _EVALUATE.value
        run_dir = files.join(_RUN_DIR.value, stage.name)
        parent = files.join(_RUN_DIR.value, stage.parent) if stage.parent else None
        tf.keras.backend.clear_session()
        result = stage_flags.train(flag_values, run_dir, parent)
        first, last = result["history"][0], result["history"][-1]
        rows += [
            {"stage": stage.name, "parent": stage.parent, "set": name, "when": when}
            | entry["sets"][name]
            for name in sets
            for when, entry in (("zero_shot", first), ("final", last))
        ]
        if _EXPORT.value and not tf.io.gfile.exists(files.join(run_dir, "saved_model")):
            logging.info("exported %s", serving.export(run_dir))
    synthetic = any(records.spec.synthetic for records in sets.values())
    text = _table(rows, stages, sets, synthetic)
    files.write_json(
        files.join(_RUN_DIR.value, "cascade.json"),
        {"synthetic": synthetic, "rows": rows},
    )
    files.write_text(files.join(_RUN_DIR.value, "cascade.md"), text + "\n")
    writer = tf.summary.create_file_writer(files.join(_RUN_DIR.value, "tensorboard"))
    board.write_text(writer, "cascade", text)
    writer.close()
    print(text)


def _parse_stages(items: list[str]) -> list[_Stage]:
    stages: list[_Stage] = []
    for item in items:
        match = re.fullmatch(r"([\w.-]+)=([^@]+?)(?:@([\w.-]+))?", item.strip())
        if not match:
            raise ValueError(
                f"--stages: expected name=flagfile[@parent], got '{item}'."
            )
        stage = _Stage(*match.groups())
        names = [earlier.name for earlier in stages]
        if stage.name in (*names, "random"):
            raise ValueError(f"--stages: the name '{stage.name}' is taken.")
        if stage.parent and stage.parent not in names:
            raise ValueError(
                f"--stages: '{stage.name}' starts from '{stage.parent}', which does not "
                "stand before it."
            )
        stages.append(stage)
    return stages


def _table(rows, stages, sets, synthetic: bool) -> str:
    """One block of lines an evaluation set: chance, then every stage that concerns it.

    A stage's zero-shot line is its parent's final one, so only the finals are shown;
    the line of a parent on a set of another language is the paper's zero-shot.
    """
    lineage = {stage.name: [stage.name] for stage in stages}
    for stage in stages:
        if stage.parent:
            lineage[stage.name] = [*lineage[stage.parent], stage.name]
    shown = []
    for set_name in sets:
        for row in rows:
            if row["set"] == set_name and row["when"] == "final":
                steps = " -> ".join(lineage.get(row["stage"], [row["stage"]]))
                shown.append({**row, "set": set_name, "stage": steps})
    text = tables.markdown(shown, ("set", "stage"))
    label = "**Synthetic corpus: drawn shapes and tones, no speech.**\n\n"
    return (label if synthetic else "") + text


def cli() -> None:
    flags.mark_flags_as_required(["run_dir", "stages", "evaluate"])
    program.run(main)


if __name__ == "__main__":
    cli()
