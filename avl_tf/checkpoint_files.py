"""Checkpoints on the disk: the newest of a folder, read, or told why that cannot be.

A folder may have any name, those that TensorFlow takes for patterns too.
"""

import contextlib
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from avl_tf import files
from avl_tf.errors import UserError

_UNREADABLE = (IndexError, ValueError, RuntimeError, tf.errors.OpError)


def newest(prefix: str) -> str | None:
    """The newest checkpoint of a folder that has not been deleted, or None.

    Raises:
        ValueError: the folder's list of checkpoints is damaged.
    """
    listed = files.join(prefix, "checkpoint")
    if not tf.io.gfile.exists(listed):
        return None
    with tf.io.gfile.GFile(listed, "rb") as stream:
        stream.read()  # one that cannot be read counts as none with TensorFlow
    try:
        state = tf.train.get_checkpoint_state(prefix)
        detail = "it lists no checkpoint"
    except UnicodeDecodeError as error:
        state, detail = None, str(error)
    if state is None or not state.all_model_checkpoint_paths:
        raise UserError(
            f"{listed}: damaged ({detail}). Put the file back, or delete the run "
            "directory to train anew."
        )
    paths = state.all_model_checkpoint_paths
    there = [path for path in paths if tf.io.gfile.exists(f"{path}.index")]
    return there[-1] if there else None


def restore(checkpoint: tf.train.Checkpoint, path: str):
    """Restores a checkpoint.

    Raises:
        ValueError: it is damaged, or of another model.
        OSError: it cannot be read.
    """
    with _explained(path) as plain:
        return checkpoint.restore(plain).assert_existing_objects_matched()


def load_variable(path: str, name: str) -> np.ndarray:
    """Reads one variable of a checkpoint; raises what restore does."""
    with _explained(path) as plain:
        return tf.train.load_variable(plain, name)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[str]:
    """Yields a name to read a checkpoint by, and tells why it could not be read."""
    folder, _, name = path.rpartition("/")
    with files.plain(folder) as plain_folder:
        plain = files.join(plain_folder, name)
        try:
            yield plain
        except tf.errors.ResourceExhaustedError:
            raise
        except (AssertionError, *_UNREADABLE) as error:
            _require_files(folder, name)
            _require_content(path, plain)
            detail = files.reason(error).replace(plain, path)
            raise UserError(
                f"{path}: whole, but of another model than run.json describes "
                f"({detail}). Put the run.json or the checkpoint back that belongs "
                "here, or use another run directory."
            ) from error


def _require_files(folder: str, name: str) -> None:
    """Makes sure that the files of a checkpoint are there and can be read."""
    data = re.compile(re.escape(name) + r"\.data-\d{5}-of-(\d{5})")
    found = filter(None, map(data.fullmatch, files.names(folder)))
    n_files = max((int(match[1]) for match in found), default=1)
    parts = [f"data-{i:05d}-of-{n_files:05d}" for i in range(n_files)]
    for part in ("index", *parts):
        path = files.join(folder, f"{name}.{part}")
        try:
            with tf.io.gfile.GFile(path, "rb") as stream:
                while stream.read(1 << 24):
                    pass
        except tf.errors.OpError as error:
            raise OSError(
                f"{path}: cannot be read ({files.reason(error)}). Mend that or put the "
                "file back; the rest of the checkpoint was not looked at."
            ) from error


def _require_content(path: str, plain: str) -> None:
    """Makes sure that a checkpoint's content is what its checksums say."""
    try:
        reader = tf.train.load_checkpoint(plain)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except tf.errors.ResourceExhaustedError:
        raise
    except _UNREADABLE as error:
        raise UserError(
            f"{path}: damaged ({files.reason(error).replace(plain, path)}). Delete it "
            "to go on from the checkpoint before."
        ) from error
