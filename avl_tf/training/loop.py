"""A stage under way: steps taken, logged, evaluated and kept."""

import datetime
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf import evaluation, metrics
from avl_tf.evaluation import tables
from avl_tf.settings.stage import StageConfig
from avl_tf.training import devices, divergence, steps
from avl_tf.training.checkpoints import Checkpoints
from avl_tf.training.history import History
from avl_tf.training.tensorboard_log import TensorBoardLog

# Steps from line to line of the log, at most; an epoch may have ten thousand.
_LOG_EVERY = 100


class Loop:
    """A stage under way: its steps are watched, evaluated, logged and kept."""

    def __init__(
        self,
        run_dir: str,
        stage: StageConfig,
        state: steps.TrainState,
        checkpoints: Checkpoints,
        history: History,
        log: TensorBoardLog,
        rank_sets: Callable[[], dict[str, dict[str, float]]],
        after_evaluation: Callable[[dict], None],
    ):
        """Takes what is made before the first step.

        Args:
            run_dir: the run directory.
            stage, state, checkpoints, history, log: of the stage.
            rank_sets: evaluates state.model: metrics by the name of a set.
            after_evaluation: as training.train_stage.
        """
        self.run_dir, self.stage = run_dir, stage
        self.rank_sets = rank_sets
        self.state, self.checkpoints, self.history = state, checkpoints, history
        self.log, self.after_evaluation = log, after_evaluation

    def train(
        self,
        take_step: Callable[..., dict[str, tf.Tensor]],
        batches: Iterator[steps.Batch],
        steps_per_epoch: int,
        strategy: tf.distribute.Strategy,
    ) -> None:
        """Takes steps until the last epoch, or until patience is over."""
        stage, last_step = self.stage, self.stage.epochs * steps_per_epoch
        log_every = min(_LOG_EVERY, steps_per_epoch)
        evaluate_every = stage.evaluate_every * steps_per_epoch
        # Seconds of a step; the first one, which traces and compiles, is none to go by.
        clock = _Clock()
        for batch in batches:
            at = int(self.state.step.numpy()) + 1
            logged = at % log_every == 0 or at % steps_per_epoch == 0 or at == last_step
            measured = take_step(batch, logged)
            loss = float(measured["loss"])
            if not np.isfinite(loss):
                what = f"the loss is {loss} at step {at}"
                raise divergence.blame(
                    self.run_dir, what, stage, at - 1, strategy, batch
                )
            if logged:
                self._log(
                    at,
                    {name: float(value) for name, value in measured.items()},
                    clock.seconds(at),
                    steps_per_epoch,
                )
            if logged or not clock.runs:
                clock.start(at)
            if at % evaluate_every == 0 or at == last_step:
                self.evaluate(at // steps_per_epoch)
                self.save()
                over = self.history.is_over(stage.patience)
                if stage.patience and devices.as_chief(strategy, over):
                    return
                clock.start(at)
            elif stage.checkpoint_every and at % stage.checkpoint_every == 0:
                self.save()
            if at == last_step:
                return

    def evaluate(self, epoch: int) -> None:
        """Evaluates the model; keeps it if it is the best so far."""
        self.state.settle()
        at = int(self.state.step.numpy())
        try:
            found = self.rank_sets()
        except evaluation.NotFiniteError as error:
            if error.of_inputs:
                raise
            what = f"after step {at}, {error.what}"
            raise divergence.blame(self.run_dir, what, self.stage, at) from error
        self.history.entries.append({"step": at, "epoch": epoch, "sets": found})
        with self.checkpoints.writing():
            if self.checkpoints.writes:
                self.history.write()
            for name, values in found.items():
                self.log.recall(name, values, at)
        for name, values in found.items():
            logging.info(
                "%s, epoch %d, %s: %s", self.run_dir, epoch, name, brief(values)
            )
        self.after_evaluation(self.history.entries[-1])
        # Before save: a run that is killed in between finds the best one again.
        if self.history.best == len(self.history.entries) - 1:
            self.checkpoints.save_best()

    def save(self) -> None:
        """Keeps the state to go on from, if it is sound."""
        self.state.settle()
        if self.state.not_finite():
            at = int(self.state.step.numpy())
            what = f"a weight is not finite after step {at}"
            raise divergence.blame(self.run_dir, what, self.stage, at)
        self.checkpoints.save()

    def _log(
        self,
        at: int,
        measured: Mapping[str, float],
        seconds: float | None,
        steps_per_epoch: int,
    ) -> None:
        """Tells how the training stands; seconds is the time of a step, if known."""
        stage, speed = self.stage, ""
        if seconds:
            measured = {**measured, "clips_per_second": stage.batch_size / seconds}
            left = (stage.epochs * steps_per_epoch - at) * seconds
            speed = (
                f", {measured['clips_per_second']:.0f} clips/s, "
                f"{datetime.timedelta(seconds=round(left))} left"
            )
        self.log.measurements(measured, at)
        epoch, in_epoch = divmod(at, steps_per_epoch)
        place = f"epoch {epoch}"
        if in_epoch:
            place = f"epoch {epoch + 1}, step {in_epoch} of {steps_per_epoch}"
        logging.info(
            "%s, %s (of %d): loss %.3f%s",
            self.run_dir,
            place,
            stage.epochs,
            measured["loss"],
            speed,
        )


class _Clock:
    """Takes the time of steps, from a step on."""

    runs = False

    def start(self, step: int) -> None:
        self.runs, self._step, self._started = True, step, time.monotonic()

    def seconds(self, step: int) -> float | None:
        """Seconds a step since the start; None before it."""
        if not self.runs:
            return None
        return (time.monotonic() - self._started) / (step - self._step)


def brief(values: dict[str, float]) -> str:
    """One line of metrics for the log."""
    recalls = [
        f"{metrics.title(d)} "
        + "/".join(f"{values[f'{d}/R@{k}']:.1f}" for k in metrics.CUTOFFS)
        for d in tables.directions([values])
    ]
    cutoffs = "/".join(str(k) for k in metrics.CUTOFFS)
    mrr = "/".join(f"{values[f'{d}/MRR']:.3f}" for d in tables.directions([values]))
    return f"R@{cutoffs} {', '.join(recalls)}, MRR {mrr} (n={values['n']})"
