"""A stage's checkpoints: the newest to go on from, the best to stand for the run."""

import contextlib
import re
import weakref
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from avl_tf import checkpoint_files, files, runs

_SAVE_COUNTER = "save_counter/.ATTRIBUTES/VARIABLE_VALUE"
# What TensorFlow calls a checkpoint's parts, and its list, until they are whole. On
# s3:// the parts have names of their own.
_REMAINS = re.compile(r"ckpt-\d+_temp.*|ckpt-\d+\.part-.*|checkpoint\.tmp[0-9a-f]+")


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
        self._checkpoint = tf.train.Checkpoint(state)
        if not writes:
            return
        best = tf.train.Checkpoint(model=state.model, step=state.step)
        if kept := checkpoint_files.newest(runs.best_prefix(run_dir)):
            # The rest of the best one is not read: the training goes on from another.
            best.save_counter.assign(
                checkpoint_files.load_variable(kept, _SAVE_COUNTER)
            )
        views = contextlib.ExitStack()
        weakref.finalize(self, views.close)
        # Both delete the oldest by a pattern.
        self._plain = views.enter_context(files.plain(run_dir))
        prefix = runs.checkpoint_prefix(self._plain)
        self._newest = tf.train.CheckpointManager(self._checkpoint, prefix, keep)
        prefix = runs.best_prefix(self._plain)
        self._best = tf.train.CheckpointManager(best, prefix, 1)
        self._remove_remains()

    @property
    def latest(self) -> str | None:
        """The newest checkpoint, or None."""
        return checkpoint_files.newest(runs.checkpoint_prefix(self._run_dir))

    def restore(self) -> bool:
        """Puts the newest checkpoint into the state, if there is one; says whether.

        Raises:
            ValueError: it is damaged.
        """
        if latest := self.latest:
            checkpoint_files.restore(self._checkpoint, latest)
        return latest is not None

    def save(self) -> None:
        """Keeps the state to go on from."""
        if self.writes:
            self._save(self._newest)

    def save_best(self) -> None:
        """Keeps the model as the best so far, in place of the one before.

        A run that was killed just afterwards finds it there and leaves it alone.
        """
        newest = checkpoint_files.newest(runs.best_prefix(self._run_dir))
        is_kept = newest and newest.endswith(f"-{int(self._state.step.numpy())}")
        if self.writes and not is_kept:
            self._save(self._best)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Tells in one line what a failed write into the run directory means."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            step, reason = int(self._state.step.numpy()), files.reason(error)
            if self.writes:
                self._remove_remains()
                reason = reason.replace(self._plain, self._run_dir)
            raise OSError(
                f"{self._run_dir}: what belongs to step {step} cannot be written "
                f"({reason}). Make room or mend the folder, then start "
                "the same command: it goes on from the last good checkpoint, "
                f"{self.latest or 'of which there is none yet'}."
            ) from error

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        with self.writing():
            manager.save(int(self._state.step.numpy()))

    def _remove_remains(self) -> None:
        """Removes what a checkpoint that was not finished left behind."""
        for of in (runs.checkpoint_prefix, runs.best_prefix):
            prefix = of(self._run_dir)
            names = files.names(prefix) if tf.io.gfile.isdir(prefix) else []
            for name in names:
                if _REMAINS.fullmatch(name):
                    path = files.join(prefix, name)
                    logging.info("%s: left by an unfinished checkpoint, removed", path)
                    is_folder = tf.io.gfile.isdir(path)
                    (tf.io.gfile.rmtree if is_folder else tf.io.gfile.remove)(path)
