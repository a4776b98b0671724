"""One stage of training: what is to be trained, whence, with what and on what."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import tensorflow as tf
from absl import flags, logging

from avl_tf import (
    comma_lists,
    dataset,
    evaluation,
    files,
    overlap,
    processors,
    runs,
    settings,
)
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.model import ModelConfig, build_model, filters_well
from avl_tf.records import open_records
from avl_tf.settings import branches
from avl_tf.settings.stage import StageConfig
from avl_tf.training import (
    admission,
    devices,
    divergence,
    lock,
    resuming,
    steps,
    warm_start,
)
from avl_tf.training.checkpoints import Checkpoints
from avl_tf.training.loop import Loop
from avl_tf.training.start_up import StartUp
from avl_tf.training.tensorboard_log import TensorBoardLog


def base_model_config(stage: StageConfig, init_from: str | None) -> ModelConfig:
    """The model before flags change it: the parent's, or the records' widths."""
    if init_from:
        return runs.read_info(init_from).model
    first, *_ = comma_lists.parse_records(_records_path(stage)).values()
    spec = open_records(first, any_length=True).spec
    return ModelConfig(visual_dims=spec.visual_dims, audio=spec.audio)


def train_flags(
    flag_values: flags.FlagValues,
    run_dir: str,
    init_from: str | None = None,
    after_ranking: Callable[[dict[str, RankedSet]], None] = lambda ranked: None,
) -> dict:
    """Trains the stage that parsed flags describe; see train_stage."""
    stage = settings.from_flags(StageConfig, flag_values)
    base = base_model_config(stage, init_from)
    return train_stage(
        run_dir,
        stage,
        settings.from_flags(ClipConfig, flag_values),
        settings.from_flags(EvaluationConfig, flag_values),
        settings.from_flags(ModelConfig, flag_values, base),
        init_from,
        after_ranking=after_ranking,
    )


def train_stage(
    run_dir: str,
    stage: StageConfig,
    clips: ClipConfig,
    evaluated: EvaluationConfig,
    model_config: ModelConfig,
    init_from: str | None = None,
    after_evaluation: Callable[[dict], None] = lambda entry: None,
    after_ranking: Callable[[dict[str, RankedSet]], None] = lambda ranked: None,
) -> dict:
    """Trains one stage, or goes on with one that was stopped, in its run directory.

    Args:
        run_dir: made if it is not there; a run of the same settings in it is resumed.
        stage, clips, evaluated, model_config: the settings.
        init_from: run directory whose weights the stage starts from.
        after_evaluation: called with each entry of the history as it is there, before
            the weights are kept.
        after_ranking: called with the ranks of each evaluation, before its metrics are
            noted.

    Returns:
        What recall.json holds: {"history": [{"step", "epoch", "sets": {name: metrics}},
        ...], "stands": index}, the first entry before the first step; "stands" tells
        which is of the model that the run is kept as. If sets hold training records of
        the run or of its parents, "shared": {name: as overlap.tell returns} too.

    Raises:
        ValueError: settings, records and parent do not fit, the run directory holds
            another run or belongs to another process, or the loss is not finite (with
            the step).
        OSError: a checkpoint cannot be written; the one before is whole.
    """
    stage = stage.with_loss_settings()
    strategy = devices.strategy()
    index, n_workers = devices.worker(strategy)
    clock = StartUp()
    processors.log("training", strategy.num_replicas_in_sync)
    with contextlib.nullcontext() if index else lock.sole_process(run_dir):
        admitted = admission.admit(
            run_dir, stage, clips, evaluated, model_config, init_from, n_workers
        )
        records, sets, starts = admitted.records, admitted.sets, admitted.starts
        info, heard, frozen = admitted.info, admitted.heard, admitted.frozen
        history, steps_per_epoch = admitted.history, admitted.steps_per_epoch
        flags_text = settings.to_flagfile(stage, clips, evaluated, info.model)
        resumed = resuming.is_resumed(run_dir, info, flags_text)
        if index == 0:
            admission.tell(stage, clips, records, evaluated, sets)
        settled = evaluation.by_set(sets, evaluated, told=index == 0)

        if index == 0:
            begun = branches.summary(info.model.branches, starts, frozen)
            if stage.image_weights and "visual" not in starts:
                begun += f", its image encoder from {stage.image_weights}"
            logging.info("%s: %s", run_dir, begun)
        layers = admission.frozen_layers(stage, info.model, starts)
        clock.mark("records")
        state = _make_state(strategy, stage, info, frozen, layers)
        take_step = steps.train_step(strategy, state, stage, steps_per_epoch)
        checkpoints = Checkpoints(run_dir, state, stage.keep_checkpoints, index == 0)
        if checkpoints.restore():
            history.read(int(state.step.numpy()))
        else:
            warm_start.load(
                state.trained,
                info.model,
                stage.image_weights,
                starts,
                records.spoken,
            )
        source = init_from or stage.image_weights
        divergence.require_finite(state, checkpoints.latest or source or run_dir)
        clock.mark("model")
        at = int(state.step.numpy())
        if n_workers > 1:
            seen = (flags_text, info.records_fingerprint, init_from, at, resumed)
            devices.require_agreement(strategy, repr(seen))

        if index == 0:
            known = resumed and overlap.trained_on.exists(run_dir)
            learnt = overlap.trained_on.gather(
                run_dir,
                None if known else records,
                list(dict.fromkeys(start.run for start in starts.values())),
            )
            chosen_by = stage.best_metric.partition("/")[0]
            history.shared = overlap.tell(learnt, sets, chosen_by)
        clock.mark("overlap")
        # Nothing is written before all that can be wrong has been looked at.
        log = TensorBoardLog(run_dir if index == 0 else None)
        if index == 0:
            with checkpoints.writing():
                if not known:
                    overlap.trained_on.write(run_dir, learnt)
                # More --epochs than when it was begun may be asked for.
                files.write_text(files.join(run_dir, runs.FLAGS), flags_text)
                if not resumed:
                    runs.write_info(run_dir, info)
                log.text("flags", f"```\n{flags_text}```")
        embed = evaluation.embed_function(state.model)

        def rank_sets() -> dict[str, dict[str, float]]:
            found: dict[str, RankedSet] = {}
            for name, one in sets.items():
                embedded = evaluation.embed_set(
                    functools.partial(embed, heard=heard[name]),
                    one,
                    settled[name],
                    clips.log_mel_reference,
                    info.model.similarity,
                )
                found[name] = embedded.ranked()
                with checkpoints.writing():
                    at = int(state.step.numpy())
                    log.similarities(name, embedded, found[name], at)
            after_ranking(found)
            return {name: ranked.metrics() for name, ranked in found.items()}

        loop = Loop(
            run_dir,
            stage,
            state,
            checkpoints,
            history,
            log,
            rank_sets,
            after_evaluation,
        )
        if not history.entries:
            loop.evaluate(epoch=0)
            loop.save()
        done = at >= stage.epochs * steps_per_epoch or history.is_over(stage.patience)
        if at:
            outcome = "finished before" if done else "goes on"
            logging.info("%s: %s, at step %d", run_dir, outcome, at)
        if not done:
            batches = dataset.train_batches(
                records,
                clips,
                stage.batch_size // n_workers,
                stage.seed,
                at,
                (index, n_workers),
                with_groups=stage.needs_groups,
                n_candidates=stage.n_candidates,
            )
            dealt = _distribute(strategy, dataset.read(batches, records), n_workers)
            clock.mark("first evaluation")
            if index == 0:
                take_step = clock.watched(take_step, run_dir)
            loop.train(take_step, dealt, steps_per_epoch, strategy)
        if index == 0:
            with checkpoints.writing():
                runs.settle(run_dir)
        log.close()
        return history.to_json()


def _make_state(
    strategy: tf.distribute.Strategy,
    stage: StageConfig,
    info: runs.RunInfo,
    frozen: Sequence[str],
    layers: Sequence[str],
) -> steps.TrainState:
    """The stage's models with weights drawn from its seed, on all devices."""

    def make_model(mixed_precision: str) -> keras.Model:
        keras.utils.set_random_seed(stage.seed)
        return build_model(
            info.model,
            mixed_precision=mixed_precision,
            sync_batch_norm=stage.sync_batch_norm,
            minimal_filtering=filters_well(),
            frozen=(*frozen, *layers),
        )

    with strategy.scope():
        return steps.TrainState(make_model, stage, frozen, info.model.similarity)


def _records_path(stage: StageConfig) -> str:
    if not stage.records:
        raise UserError("--records is missing: name the training records.")
    return stage.records


def _distribute(
    strategy: tf.distribute.Strategy, batches: Iterable[steps.Batch], n_workers: int
) -> Iterator[steps.Batch]:
    """Deals each batch of this worker to its replicas, in order.

    A strategy's own datasets hold several batches more, which may be large.
    """
    n_local = strategy.num_replicas_in_sync // n_workers
    for batch in batches:

        def part(context, batch=batch):
            place = context.replica_id_in_sync_group % n_local
            return {
                name: tf.split(value, n_local)[place] if n_local > 1 else value
                for name, value in batch.items()
            }

        yield strategy.experimental_distribute_values_from_function(part)
