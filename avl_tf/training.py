"""One stage of training: batches to steps, evaluations, checkpoints and TensorBoard."""

import datetime
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf import (
    board,
    claims,
    dataset,
    devices,
    evaluation,
    files,
    metrics,
    optimizers,
    runs,
    steps,
)
from avl_tf.checkpoints import Checkpoints
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.history import History
from avl_tf.model import ModelConfig, build_model
from avl_tf.records import RecordSet, open_records
from avl_tf.settings import to_flagfile
from avl_tf.stage_config import StageConfig

# Steps from line to line of the log, at most; an epoch may have ten thousand.
_LOG_EVERY = 100


def base_model_config(stage: StageConfig, init_from: str | None) -> ModelConfig:
    """The model before flags change it: the parent's, or the records' widths."""
    if init_from:
        return runs.read_info(init_from).model
    spec = open_records(_records_path(stage), any_length=True).spec
    return ModelConfig(visual_dims=spec.visual_dims, audio=spec.audio)


def train_stage(
    run_dir: str,
    stage: StageConfig,
    clips: ClipConfig,
    evaluated: EvaluationConfig,
    model_config: ModelConfig,
    init_from: str | None = None,
) -> dict:
    """Trains one stage, or goes on with one that was stopped, in its run directory.

    Args:
        run_dir: made if it is not there; a run of the same settings in it is resumed.
        stage, clips, evaluated, model_config: the settings.
        init_from: run directory whose weights the stage starts from.

    Returns:
        What recall.json holds: {"history": [{"step", "epoch", "sets": {name: metrics}},
        ...], "stands": index}, the first entry before the first step; "stands" tells
        which is of the model that the run is kept as.

    Raises:
        ValueError: settings, records and parent do not fit, the run directory holds
            another run, or the loss is not finite (with the step).
        OSError: a checkpoint cannot be written; the one before is whole.
    """
    strategy = devices.strategy()
    index, n_workers = devices.worker(strategy)
    records = dataset.open_training_records(_records_path(stage), clips)
    sets = evaluation.parse_sets(evaluated.evaluate)
    steps_per_epoch = dataset.steps_per_epoch(
        records, clips, stage.batch_size, n_workers
    )
    info = claims.run_info(records, model_config, init_from)
    for record_set in (records, *sets.values()):
        runs.check_records(info, record_set, run_dir)
    flags_text = to_flagfile(stage, clips, evaluated, model_config)
    resumed = claims.is_resumed(run_dir, info, flags_text)
    history = History(run_dir, stage.best_metric, sets)
    if stage.patience and not stage.best_metric:
        raise ValueError("--patience needs a --best_metric to wait for.")
    if stage.final_learning_rate and stage.learning_rate_decay != 1:
        raise ValueError(
            "--final_learning_rate and --learning_rate_decay are two ways for the "
            "learning rate to fall: give one."
        )

    def make_model(mixed_precision: str) -> keras.Model:
        keras.utils.set_random_seed(stage.seed)
        return build_model(
            model_config,
            mixed_precision=mixed_precision,
            sync_batch_norm=stage.sync_batch_norm,
        )

    with strategy.scope():
        state = steps.TrainState(make_model, stage)
    take_step = steps.train_step(strategy, state, stage, steps_per_epoch)
    checkpoints = Checkpoints(run_dir, state, stage.keep_checkpoints, index == 0)
    if checkpoints.latest:
        checkpoints.restore()
        history.read(int(state.step.numpy()))
    elif init_from:
        runs.load_weights(state.trained, init_from)

    at = int(state.step.numpy())
    if n_workers > 1:
        seen = (flags_text, info.records_fingerprint, init_from, at, resumed)
        devices.require_agreement(strategy, repr(seen))
    # Nothing is written before all that can be wrong has been looked at.
    writer = tf.summary.create_noop_writer()
    if index == 0:
        with checkpoints.writing():
            if not resumed:
                files.write_text(files.join(run_dir, runs.FLAGS), flags_text)
                runs.write_info(run_dir, info)
            writer = board.open_writer(run_dir, sets, flags_text)
    watch = _Watch(
        run_dir, stage, clips, evaluated, sets, state, checkpoints, history, writer
    )
    if not history.entries:
        watch.evaluate(epoch=0)
        watch.save()
    last_step = stage.epochs * steps_per_epoch
    done = at >= last_step or history.is_over(stage.patience)
    if at:
        logging.info(
            "%s: %s, at step %d", run_dir, "finished before" if done else "goes on", at
        )
    if not done:
        batches = dataset.train_batches(
            records,
            clips,
            stage.batch_size // n_workers,
            stage.seed,
            at,
            (index, n_workers),
        )
        dealt = _distribute(strategy, dataset.read(batches, records), n_workers)
        watch.train(take_step, dealt, steps_per_epoch)
    writer.close()
    return history.to_json()


class _Watch:
    """A stage under way: its steps are watched, evaluated, logged and kept."""

    def __init__(
        self,
        run_dir: str,
        stage: StageConfig,
        clips: ClipConfig,
        evaluated: EvaluationConfig,
        sets: Mapping[str, RecordSet],
        state: steps.TrainState,
        checkpoints: Checkpoints,
        history: History,
        writer: tf.summary.SummaryWriter,
    ):
        self.run_dir, self.stage, self.clips = run_dir, stage, clips
        self.evaluated, self.sets = evaluated, sets
        self.state, self.checkpoints, self.history = state, checkpoints, history
        self.writer = writer
        self.embed = evaluation.embed_function(state.model)

    def train(
        self,
        take_step: Callable[[steps.Batch], tf.Tensor],
        batches: Iterator[steps.Batch],
        steps_per_epoch: int,
    ) -> None:
        """Takes steps until the last epoch, or until patience is over."""
        stage, last_step = self.stage, self.stage.epochs * steps_per_epoch
        log_every = min(_LOG_EVERY, steps_per_epoch)
        evaluate_every = stage.evaluate_every * steps_per_epoch
        started, since = time.monotonic(), int(self.state.step.numpy())
        for batch in batches:
            loss = float(take_step(batch))
            at = int(self.state.step.numpy())
            if not np.isfinite(loss):
                raise ValueError(
                    f"{self.run_dir}: the loss is {loss} at step {at}. Lower "
                    "--learning_rate; the last checkpoint is from before."
                )
            if at % log_every == 0 or at % steps_per_epoch == 0 or at == last_step:
                seconds = (time.monotonic() - started) / (at - since)
                self._log(at, loss, seconds, steps_per_epoch)
                started, since = time.monotonic(), at
            if at % evaluate_every == 0 or at == last_step:
                self.evaluate(at // steps_per_epoch)
                self.save()
                started = time.monotonic()
            elif stage.checkpoint_every and at % stage.checkpoint_every == 0:
                self.save()
            if at == last_step or self.history.is_over(stage.patience):
                return

    def evaluate(self, epoch: int) -> None:
        """Evaluates the model; keeps it if it is the best so far."""
        self.state.settle()
        at = int(self.state.step.numpy())
        found = {
            name: evaluation.rank_set(
                self.embed, records, self.evaluated, self.clips.log_mel_reference
            ).metrics()
            for name, records in self.sets.items()
        }
        self.history.entries.append({"step": at, "epoch": epoch, "sets": found})
        with self.checkpoints.writing():
            if self.checkpoints.writes:
                self.history.write()
            for name, values in found.items():
                tagged = {
                    board.recall_tag(name, k): v for k, v in values.items() if k != "n"
                }
                board.write_scalars(self.writer, tagged, at)
        for name, values in found.items():
            logging.info(
                "%s, epoch %d, %s: %s", self.run_dir, epoch, name, brief(values)
            )
        # Before save: a run that is killed in between finds the best one again.
        if self.history.best == len(self.history.entries) - 1:
            self.checkpoints.save_best()

    def save(self) -> None:
        """Keeps the state to go on from, if it is sound."""
        self.state.settle()
        if self.state.not_finite():
            raise ValueError(
                f"{self.run_dir}: a weight is not finite after step "
                f"{int(self.state.step.numpy())}. Lower --learning_rate; the last "
                "checkpoint is from before."
            )
        self.checkpoints.save()

    def _log(self, at: int, loss: float, seconds: float, steps_per_epoch: int) -> None:
        """Tells how the training stands; seconds is the time of a step."""
        stage = self.stage
        rate = optimizers.learning_rate(
            stage, steps_per_epoch, tf.constant(at - 1, tf.int64)
        )
        progress = {
            "train/loss": loss,
            "train/learning_rate": float(rate),
            "train/clips_per_second": stage.batch_size / seconds,
        }
        board.write_scalars(self.writer, progress, at)
        epoch, in_epoch = divmod(at, steps_per_epoch)
        place = f"epoch {epoch}"
        if in_epoch:
            place = f"epoch {epoch + 1}, step {in_epoch} of {steps_per_epoch}"
        left = (stage.epochs * steps_per_epoch - at) * seconds
        logging.info(
            "%s, %s (of %d): loss %.3f, %.0f clips/s, %s left",
            self.run_dir,
            place,
            stage.epochs,
            loss,
            progress["train/clips_per_second"],
            datetime.timedelta(seconds=round(left)),
        )


def brief(values: dict[str, float]) -> str:
    """One line of metrics for the log."""
    recalls = {
        d: "/".join(f"{values[f'{d}/R@{k}']:.1f}" for k in metrics.CUTOFFS)
        for d in metrics.DIRECTIONS
    }
    cutoffs = "/".join(str(k) for k in metrics.CUTOFFS)
    return f"R@{cutoffs} A->V {recalls['a2v']}, V->A {recalls['v2a']} (n={values['n']})"


def _records_path(stage: StageConfig) -> str:
    if not stage.records:
        raise ValueError("--records is missing: name the training records.")
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
