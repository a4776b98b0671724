"""Whole files or none: small reads and writes at local and remote (s3://...) paths."""

import json
import os
from typing import Any

import tensorflow as tf

_REMOTE_IN_TENSORFLOW_IO = ("s3://", "hdfs://", "viewfs://", "az://")


def require_filesystem(path: str) -> None:
    """Makes TensorFlow know the path's file system.

    Raises:
        ValueError: the scheme needs tensorflow-io's native part, which is not there.
    """
    if not path.startswith(_REMOTE_IN_TENSORFLOW_IO):
        return
    try:
        import tensorflow_io  # noqa: F401  registers the schemes when imported

        tf.io.gfile.exists(path)
    except (ImportError, NotImplementedError, tf.errors.UnimplementedError) as error:
        raise ValueError(
            f"{path}: this TensorFlow ({tf.__version__}) cannot open remote paths "
            f"({error}). tensorflow-io's file systems load with tensorflow 2.16; "
            "install that, or copy the files to a local folder."
        ) from error


def join(folder: str, *names: str) -> str:
    """Joins with forward slashes, which every file system here takes."""
    return "/".join([folder.rstrip("/"), *names]) if folder else "/".join(names)


def write_text(path: str, text: str) -> None:
    """Writes a text file under another name, then renames it: never half a file."""
    require_filesystem(path)
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    temporary = f"{path}.tmp-{os.getpid()}"
    with tf.io.gfile.GFile(temporary, "w") as out:
        out.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def write_json(path: str, value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: str) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON; names the file and the place.
    """
    require_filesystem(path)
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"{path}: no such file.")
    with tf.io.gfile.GFile(path) as stream:
        text = stream.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}.") from error
