"""A stage's checkpoints: the newest to go on from, the best to stand for the run."""

import tensorflow as tf
from absl import logging

from avl_tf import files, runs


class Checkpoints:
    """Writes and finds the checkpoints of one run directory.

    A checkpoint is whole or is not there: `latest` never names one that was being
    written when the process died or the disk was full.
    """

    def __init__(self, run_dir: str, state: tf.Module, keep: int, writes: bool):
        """Looks at what is there.

        Args:
            run_dir: the run directory.
            state: what a checkpoint holds; has a variable `step`.
            keep: how many of the newest stay.
            writes: whether this process is the one that writes.
        """
        self._run_dir, self._state, self.writes = run_dir, state, writes
        checkpoint = tf.train.Checkpoint(state)
        prefix = runs.checkpoint_prefix(run_dir)
        self._newest = tf.train.CheckpointManager(checkpoint, prefix, keep)
        best = tf.train.Checkpoint(model=state.model, step=state.step)
        self._best = tf.train.CheckpointManager(best, runs.best_prefix(run_dir), 1)
        self._checkpoint = checkpoint
        if writes:
            _remove_remains(prefix)

    @property
    def latest(self) -> str | None:
        """The newest checkpoint, or None."""
        return runs.newest_checkpoint(runs.checkpoint_prefix(self._run_dir))

    def restore(self) -> None:
        """Puts the newest checkpoint into the state; ValueError if it is damaged."""
        runs.restore(self._checkpoint, self.latest)

    def save(self) -> None:
        """Keeps the state to go on from."""
        self._save(self._newest)

    def save_best(self) -> None:
        """Keeps the model as the best so far, in place of the one before."""
        self._save(self._best)

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        if not self.writes:
            return
        step = int(self._state.step.numpy())
        try:
            # Else CheckpointManager skips a step that it has saved before.
            manager.save(step, check_interval=False)
        except (OSError, tf.errors.OpError) as error:
            reason = str(getattr(error, "message", error)).splitlines()[0]
            kept = (
                f"the last good one is {self.latest}"
                if self.latest
                else ("there is none yet")
            )
            raise OSError(
                f"{self._run_dir}: the checkpoint of step {step} cannot be written "
                f"({reason}); {kept}. Make room or mend the folder, then start the "
                "same command: it goes on from there."
            ) from error


def _remove_remains(prefix: str) -> None:
    """Removes what a process that died in the middle of a checkpoint left behind."""
    for path in tf.io.gfile.glob(files.join(prefix, "*_temp*")):
        logging.info("%s: left by a process that died, removed", path)
        remove = tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove
        remove(path)
