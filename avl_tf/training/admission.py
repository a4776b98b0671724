"""Whether a stage may be trained into a run directory, and what will stand in its note.

What is wrong with the parent and the directory is found here, before anything is
written.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from absl import logging

from avl_tf import comma_lists, evaluation, files, metrics, model, runs
from avl_tf.dataset import (
    ClipConfig,
    Records,
    languages,
    open_training_records,
    plain_sets,
    steps_per_epoch,
)
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig, caveats, clip_lengths
from avl_tf.model import ModelConfig, image_encoder
from avl_tf.records import RecordSet, ShardSpec, split_of
from avl_tf.settings import branches, terms
from avl_tf.settings.branches import Start
from avl_tf.settings.stage import StageConfig
from avl_tf.training import history, parents

# Training records whose headers are read at the start, for the lengths of clips.
_MOST_TOLD = 100_000


@dataclasses.dataclass(frozen=True)
class Admitted:
    """A stage that may be trained: what is known before anything is built or written.

    Attributes:
        records, sets: training records and evaluation sets, opened.
        starts: where branches start from.
        info: what will stand in the run's note.
        heard: of each set, as evaluation.heard.
        frozen: branches that do not learn.
        history: empty.
        steps_per_epoch: of all workers together.
    """

    records: Records
    sets: Mapping[str, Records]
    starts: Mapping[str, Start]
    info: runs.RunInfo
    heard: Mapping[str, Any]
    frozen: Sequence[str]
    history: history.History
    steps_per_epoch: int


def admit(
    run_dir: str,
    stage: StageConfig,
    clips: ClipConfig,
    evaluated: EvaluationConfig,
    model_config: ModelConfig,
    init_from: str | None,
    n_workers: int = 1,
) -> Admitted:
    """Opens a stage's records and looks for what is wrong with its settings.

    Args:
        run_dir, stage, clips, evaluated, model_config, init_from: as of
            training.train_stage.
        n_workers: that share the training.

    Raises:
        ValueError: settings, records and parent do not fit.
    """
    stage = stage.with_loss_settings()
    if not stage.records:
        raise UserError("--records is missing: name the training records.")
    records = open_training_records(stage.records, clips)
    model_config = dataclasses.replace(model_config, languages=languages(records))
    records = runs.as_read(records, model_config)
    starts = branches.starts(stage, init_from, model_config.branches)
    parsed = evaluation.parse_sets(evaluated.evaluate, clips.join_by)
    sets = {name: runs.as_read(one, model_config) for name, one in parsed.items()}
    paths = comma_lists.parse_records(stage.records).values()
    for path, one in zip(paths, plain_sets(records), strict=True):
        require_apart(path, one, sets)
    n_steps = steps_per_epoch(records, clips, stage.batch_size, n_workers)
    info = run_info(run_dir, records, clips, sets, model_config, init_from, starts)
    model.check(info.model)
    heard = {
        name: evaluation.heard(one, info.model.branches, name)
        for name, one in sets.items()
    }
    directions = {
        name: [metrics.direction(pair) for pair in metrics.pairs(of_set)]
        for name, of_set in heard.items()
    }
    entries = history.History(run_dir, stage.best_metric, directions)
    frozen = branches.frozen(
        stage, info.model.branches, starts, info.model.shared_audio
    )
    n_clips = n_steps * stage.batch_size
    check_stage(stage, clips, info.model.branches, frozen, records, n_clips)
    return Admitted(records, sets, starts, info, heard, frozen, entries, n_steps)


def check_stage(
    stage: StageConfig,
    clips: ClipConfig,
    model_branches: Sequence[str],
    frozen: Collection[str],
    records: Records,
    n_clips: int,
) -> None:
    """Raises ValueError for settings of a stage that contradict each other.

    Args:
        stage, clips: the settings.
        model_branches: all of the model.
        frozen: those that do not learn.
        records: the training records.
        n_clips: in a pass over them.
    """
    learning = [name for name in model_branches if name not in frozen]
    terms.check_loss(stage, clips)
    terms.plan(stage, model_branches, learning)
    if stage.loss == "mil_nce" and records.spec.images:
        raise UserError(
            f"--loss=mil_nce: the captions of {records.name} are of one image each, "
            "which has no windows beside them. Give another --loss."
        )
    if stage.nn_queue > n_clips:
        raise UserError(
            f"--nn_queue={stage.nn_queue} is larger than the {n_clips} clips of a pass "
            f"over {records.name}: a caption's nearest would be itself. Give at most "
            f"{n_clips}."
        )
    if stage.patience and not stage.best_metric:
        raise UserError("--patience needs a --best_metric to wait for.")
    if stage.final_learning_rate and stage.learning_rate_decay != 1:
        raise UserError(
            "--final_learning_rate and --learning_rate_decay are two ways for the "
            "learning rate to fall: give one."
        )


def frozen_layers(
    stage: StageConfig, model_config: ModelConfig, starts: Mapping[str, Start]
) -> tuple[str, ...]:
    """What does not learn beside the branches of --freeze: the image encoder, or none.

    Raises:
        UserError: there is none, or it would stay at random weights.
    """
    if not stage.freeze_image_encoder:
        return ()
    if not model_config.image_encoder:
        raise UserError("--freeze_image_encoder needs an --image_encoder.")
    if not (stage.image_weights or "visual" in starts):
        raise UserError(
            "--freeze_image_encoder: it would stay at random weights. Give "
            "--image_weights, or the run that the visual branch is from by --init_from."
        )
    return (image_encoder.LAYER,)


def require_apart(
    path: str, records: RecordSet, evaluation_sets: Mapping[str, Records]
) -> None:
    """Raises ValueError if a folder is trained on whole, and evaluated on in part.

    Shards are told by their content, so that links and copies do not hide them.

    Args:
        path: --records, a folder or a split of it; or that of one of its languages.
        records: what was opened by it.
        evaluation_sets: by name.
    """
    folder = path.rstrip("/")
    held = {one.sha256: shard for shard, one in _shards(records)}
    every = [(k, one) for k, v in evaluation_sets.items() for one in plain_sets(v)]
    for name, evaluated in every:
        found = {held[s.sha256] for _, s in _shards(evaluated) if s.sha256 in held}
        if folder != records.folder or evaluated.name == evaluated.folder or not found:
            continue
        splits = set(map(split_of, held.values()))
        rest = sorted(splits - set(map(split_of, found)))
        split = "train" if "train" in rest or not rest else rest[0]
        raise UserError(
            f"--records={path} is a folder, all splits of which would be trained on, "
            f"and the evaluation set '{name}' ({evaluated.name}) is one of them. Name "
            f"the split to train on, as in --records={folder}/{split}."
        )


def _shards(records: RecordSet) -> list[tuple[str, ShardSpec]]:
    """The shards of a set that hold something, by name."""
    both = ((name, records.spec.shards[name]) for name in records.shards)
    return [(name, spec) for name, spec in both if spec.n_records]


def run_info(
    run_dir: str,
    records: Records,
    clips: ClipConfig,
    evaluation_sets: Mapping[str, Records],
    model_config: ModelConfig,
    init_from: str | None,
    starts: Mapping[str, Start],
) -> runs.RunInfo:
    """Describes a stage that is to be trained on records and evaluated on sets.

    Args:
        starts: where branches start from.

    Raises:
        ValueError: the records or the model do not fit those of a run that a branch
            starts from, a set does not fit the records, or the records have nothing to
            be seen.
    """
    spec, heard = records.spec, clips.heard_reference(records.spec.log_mel_reference)
    if not (spec.streams or model_config.image_encoder):
        raise UserError(
            f"{records.name} has no frozen features: give an --image_encoder for its "
            "images, or run data_prep.extract with a --backbone_2d."
        )
    notes = {start.run: runs.read_info(start.run) for start in starts.values()}
    for run, parent in notes.items():
        parents.require_fitting(run, parent, records, model_config, starts)
        if note := history.unfinished(run):
            logging.warning("%s: %s; its weights so far are taken.", run, note)
        if parent.log_mel_reference != heard:
            advice = "; --log_mel_reference=clip re-references them"
            logging.warning(
                "%s was trained on log-mels relative to the %s, %s are relative to the "
                "%s%s.",
                run,
                parent.log_mel_reference,
                records.name,
                heard,
                advice if parent.log_mel_reference == "clip" else "",
            )
    info = runs.RunInfo(
        model=dataclasses.replace(model_config, visual_dims=spec.visual_dims),
        features_2d=spec.features_2d,
        features_3d=spec.features_3d,
        log_mel_reference=heard,
        records=records.name,
        records_fingerprint=records.fingerprint,
        languages=spec.languages,
        parent=init_from,
        synthetic=spec.synthetic or any(one.synthetic for one in notes.values()),
        evaluation_fingerprints={k: v.fingerprint for k, v in evaluation_sets.items()},
    )
    for one in (records, *evaluation_sets.values()):
        runs.check_records(info, one, run_dir)
    return info


def tell(
    stage: StageConfig,
    clips: ClipConfig,
    records: Records,
    evaluated: EvaluationConfig,
    sets: Mapping[str, Records],
) -> None:
    """Logs how many training clips are cut or padded; warns of a poor --best_metric."""
    for one in plain_sets(records):
        if one.n_records > _MOST_TOLD or files.is_remote(one.folder):
            continue
        annotated = clips.clip_sampling == "annotated"
        lengths = clip_lengths.of_set(one, annotated)
        n_cut, n_padded = clip_lengths.count(lengths, clips.clip_s)
        what, limit = "clips" if annotated else "recordings", f"{clips.clip_s:g} s"
        found = []
        if n_cut and clips.clip_sampling != "random":  # whose windows are no cut
            found.append(f"{n_cut} longer than the {limit} of --clip_s and cut")
        if n_padded:
            found.append(f"{n_padded} shorter than the {limit} of --clip_s and padded")
        if found:
            n, counts = len(lengths), ", ".join(found)
            logging.info("%s: %d %s to train on, %s", one.name, n, what, counts)
    if stage.best_metric:
        n = evaluated.evaluation_population
        n = n or sets[stage.best_metric.partition("/")[0]].n_clips
        if note := caveats.of_metric(stage.best_metric, n):
            logging.warning("%s", note)
