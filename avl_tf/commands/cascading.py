"""What avl_tf.cascade does: stages trained in turn, their table, curves and exports."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from absl import logging

from avl_tf import (
    comma_lists,
    evaluation,
    files,
    offspring,
    reporting,
    runs,
    serving,
    settings,
    training,
)
from avl_tf.comparing import running
from avl_tf.comparing.trainings import Training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import lineage
from avl_tf.records import open_records
from avl_tf.settings import stage_flags
from avl_tf.settings.stage_flags import CascadeStage
from avl_tf.trained import identity
from avl_tf.training.tensorboard_log import TensorBoardLog


def train(
    run_dir: str,
    stages: Sequence[CascadeStage],
    evaluate: list[str],
    export: bool,
    at_once: int = 1,
) -> None:
    """Trains the stages that are not finished, and prints the table of all.

    Args:
        run_dir: folder of the whole cascade; each stage has a run directory in it.
        stages: a parent stands before its children, or is a run directory.
        evaluate: evaluation sets of every stage, name=records.
        export: export each stage as a SavedModel.
        at_once: stages side by side, each in a process of its own; 1 is in this one.

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
    if at_once > 1 and identity.has_gpu():
        logging.info("one stage at a time: processes would share the GPU's memory")
        at_once = 1
    if at_once > 1:
        _train_side_by_side(run_dir, stages, export, at_once)
    for stage in stages:
        stage_dir = files.join(run_dir, stage.name)
        parent = stage.parent
        if parent in own:
            parent = files.join(run_dir, parent)
        if at_once > 1:
            result = runs.weights.read_recalls(stage_dir)
        else:
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
        if export:
            serving.export_once(stage_dir)
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


def _train_side_by_side(
    run_dir: str, stages: Sequence[CascadeStage], export: bool, at_once: int
) -> None:
    """Trains the stages that are not finished, as many at once as do not wait."""
    own = [stage.name for stage in stages]
    trainings = [
        Training(
            stage.name,
            stage.name,
            stage_flags.arguments(stage.flag_values),
            stage_flags.record_paths(stage.flag_values),
            parent if parent in own else "",
            "" if parent in own else parent,
        )
        for stage in stages
        for parent in [stage.parent or ""]
    ]
    running.train_all(run_dir, trainings, at_once, offspring.n_cores(), export)


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
