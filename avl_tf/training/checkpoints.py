"""A stage's checkpoints: the newest to go on from, the best to stand for the run."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from avl_tf import files, runs

_SAVE_COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"


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
        if kept := runs.newest_checkpoint(runs.best_prefix(run_dir)):
            # The rest of the best one is not read: the training goes on from another.
            count = tf.train.load_variable(kept, _SAVE_COUNTER)
            best.save_counter.assign(count)
        self._checkpoint = checkpoint
        self._prefixes = (prefix, runs.best_prefix(run_dir)) if writes else ()
        for each in self._prefixes:
            _remove_remains(each)

    @property
    def latest(self) -> str | None:
        """The newest checkpoint, or None."""
        return runs.newest_checkpoint(runs.checkpoint_prefix(self._run_dir))

    def restore(self) -> bool:
        """Puts the newest checkpoint into the state, if there is one; says whether.

        Raises:
            ValueError: it is damaged.
        """
        if latest := self.latest:
            runs.restore(self._checkpoint, latest)
        return latest is not None

    def save(self) -> None:
        """Keeps the state to go on from."""
        self._save(self._newest)

    def save_best(self) -> None:
        """Keeps the model as the best so far, in place of the one before.

        A run that was killed just afterwards finds it there and leaves it alone.
        """
        newest = runs.newest_checkpoint(runs.best_prefix(self._run_dir))
        if newest is None or not newest.endswith(f"-{int(self._state.step.numpy())}"):
            self._save(self._best)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Tells in one line what a failed write into the run directory means."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            for prefix in self._prefixes:
                _remove_remains(prefix)
            step = int(self._state.step.numpy())
            raise OSError(
                f"{self._run_dir}: what belongs to step {step} cannot be written "
                f"({files.reason(error)}). Make room or mend the folder, then start "
                "the same command: it goes on from the last good checkpoint, "
                f"{self.latest or 'of which there is none yet'}."
            ) from error

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        if self.writes:
            with self.writing():
                manager.save(int(self._state.step.numpy()))


def _remove_remains(prefix: str) -> None:
    """Removes what a checkpoint that was not finished left behind."""
    # On s3:// the parts of an unfinished one have names of their own.
    names = ("*_temp*", "*.part-*")
    for path in tf.io.gfile.glob([files.join(prefix, name) for name in names]):
        logging.info("%s: left by a checkpoint that was not finished, removed", path)
        remove = tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove
        remove(path)
