"""The numbered folders of a run's exports, RUN_DIR/export/1, 2, 3, ...: whole or not.

An export is written to RUN_DIR/export.*.tmp, a folder that its process locks, and then
renamed. What a killed one left is told by its lock, which went with the process.
"""

import contextlib
import os
import re
from collections.abc import Iterator

import tensorflow as tf

from avl_tf import files, whole_files


def folder(run_dir: str) -> str:
    """The folder of a run's exports; TensorFlow Serving takes it as it is."""
    return files.join(run_dir, "export")


def newest(run_dir: str) -> str:
    """The last of a run's exports; "" if there is none."""
    numbers = _numbers(run_dir)
    return files.join(folder(run_dir), str(max(numbers))) if numbers else ""


@contextlib.contextmanager
def temporary_folder(run_dir: str) -> Iterator[str]:
    """Yields a folder to write an export to, which is gone at the end unless kept.

    What exports left that were killed is removed; but not at remote paths, where a
    killed one cannot be told from one at work.

    Raises:
        OSError: the folder cannot be made.
    """
    if "://" in files.local_path(run_dir):
        path, descriptor = files.temporary_name(folder(run_dir)), None
    else:
        _remove_left_over(run_dir)
        path, descriptor = _make(run_dir)
    try:
        yield path
    finally:
        if tf.io.gfile.exists(path):
            tf.io.gfile.rmtree(path)
        if descriptor is not None:
            os.close(descriptor)


def keep(temporary: str, run_dir: str) -> str:
    """Makes a folder the next version; returns its path."""
    tf.io.gfile.makedirs(folder(run_dir))
    while True:
        path = files.join(folder(run_dir), str(max([0, *_numbers(run_dir)]) + 1))
        try:
            tf.io.gfile.rename(temporary, path)
            return path
        except (tf.errors.AlreadyExistsError, tf.errors.FailedPreconditionError):
            # Another export may have taken the number since.
            if not tf.io.gfile.exists(path):
                raise


def _numbers(run_dir: str) -> list[int]:
    # On s3:// an empty folder is none.
    there = tf.io.gfile.exists(folder(run_dir))
    names = files.names(folder(run_dir)) if there else []
    return [int(name) for name in names if re.fullmatch("[0-9]+", name)]


def _make(run_dir: str) -> tuple[str, int]:
    """A new folder and its lock."""
    while True:
        path = files.temporary_name(folder(run_dir))
        with contextlib.suppress(BlockingIOError):
            return path, whole_files.lock_folder(files.local_path(path))


def _remove_left_over(run_dir: str) -> None:
    for name in os.listdir(files.local_path(run_dir)):
        if not re.fullmatch(r"export\.[0-9a-f]{32}\.tmp", name):
            continue
        path = files.local_path(files.join(run_dir, name))
        # At work, or not ours to remove.
        with contextlib.suppress(OSError, tf.errors.OpError):
            descriptor = whole_files.lock_folder(path)
            try:
                tf.io.gfile.rmtree(path)
            finally:
                os.close(descriptor)
