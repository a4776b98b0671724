"""What avl_tf.cascade does: stages trained in turn, their table, curves and exports."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from absl import logging

from avl_tf import (
    comma_lists,
    evaluation,
    files,
    reporting,
    runs,
    serving,
    settings,
    training,
)
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import lineage
from avl_tf.records import open_records
from avl_tf.settings.stage_flags import CascadeStage
from avl_tf.training.tensorboard_log import TensorBoardLog


def train(
    run_dir: str, stages: Sequence[CascadeStage], evaluate: list[str], export: bool
) -> None:
    """Trains the stages that are not finished, and prints the table of all.

    Args:
        run_dir: folder of the whole cascade; each stage has a run directory in it.
        stages: a parent stands before its children, or is a run directory.
        evaluate: evaluation sets of every stage, name=records.
        export: export each stage as a SavedModel.

    Raises:
        FileNotFoundError: a parent is neither a stage nor a run directory.
        ValueError: as training.train_stage.
    """
    join_by = settings.from_flags(ClipConfig, stages[-1].flag_values).join_by
    sets = evaluation.parse_sets(evaluate, join_by)
    for stage in stages:
        if text := stage.flag_values["records"].value:
            for path in comma_lists.parse_records(text).values():
                trained_on = open_records(path, any_length=True)
                training.admission.require_apart(path, trained_on, sets)
    own = [stage.name for stage in stages]
    rows: list[dict] = []
    ends: dict[str | None, int] = {}
    lines: dict[str, lineage.Line] = {}
    notes: list[str] = []
    parents = {stage.parent for stage in stages} - set(own)
    before = {parent: lineage.line_of(parent) for parent in parents}
    for stage in stages:
        stage.flag_values["evaluate"].value = evaluate
        stage_dir = files.join(run_dir, stage.name)
        parent = stage.parent
        if parent in own:
            parent = files.join(run_dir, parent)
        keras.utils.clear_session()
        result = training.train_flags(stage.flag_values, stage_dir, parent)
        info = runs.read_info(stage_dir)
        this = stage.name, info.languages
        if info.weights and info.weights.metric:
            notes.append(runs.weights.warning(stage.name, info.weights, parent))
        lines[stage.name] = (*(before | lines)[stage.parent], this)
        ends[stage.name] = draw_stage(
            stage_dir, result["history"], ends.get(stage.parent, 0)
        )
        rows += lineage.stage_rows(stage.name, stage.parent, result, sets)
        if export and info.model.has_maps:
            kind = info.model.similarity
            logging.warning("%s: not exported, with --similarity=%s.", stage_dir, kind)
        elif export and not tf.io.gfile.exists(serving.folder(stage_dir)):
            logging.info("exported %s", serving.export(stage_dir))
    if export:
        serving.models_config.write(run_dir)
    rows = lineage.random_rows(sets, rows) + rows
    text = "\n\n".join([lineage.table(rows, lines, sets), *filter(None, notes)])
    files.write_json(
        files.join(run_dir, "cascade.json"),
        {"synthetic": lineage.is_synthetic(sets), "rows": rows},
    )
    files.write_text(files.join(run_dir, "cascade.md"), text + "\n")
    log = TensorBoardLog(run_dir)
    log.text("cascade", text)
    log.close()
    page = reporting.write(run_dir)
    print(f"{text}\n\nThe curves: {page}")


def draw_stage(stage_dir: str, history: list[dict], begins: int) -> int:
    """Draws a stage in the charts of all; returns at which epoch it ends."""
    # A stage may have any name, so that what is of it lies in its own folder.
    folder = files.join(stage_dir, "stage")
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(folder)
    log = TensorBoardLog(folder)
    log.stage(history, begins)
    log.close()
    return begins + history[-1]["epoch"]
