"""Whole files or none, at local and at remote paths: s3://, gs://, hdfs://, file://.

Everything goes through tf.io.gfile; docs/remote.md tells what each file system needs.
"""

import contextlib
import ctypes
import functools
import os
import re
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from avl_tf import json_text, whole_files
from avl_tf.errors import UserError
from avl_tf.whole_files import temporary_name

_LOCAL_SCHEMES = ("file", "ram")
# What is put there is there as a whole or not at all.
_OBJECT_STORES = ("s3://", "gs://")
# Left alone, clients try again for half a minute (S3, refused) up to an hour (S3, a
# host that does not answer).
_PATIENCE_S = 30


def is_remote(path: str) -> bool:
    """Whether only tf.io.gfile can open a path."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and scheme not in _LOCAL_SCHEMES


def local_path(path: str) -> str:
    """The path of a local file as the operating system has it, without file://."""
    return path.removeprefix("file://")


@contextlib.contextmanager
def locked(folder: str, refusal: str) -> Iterator[None]:
    """Keeps other processes of this machine from a folder for the while.

    The lock is on the folder itself and goes with the process, however it ends. Folders
    that were made for it go too if nothing was written. A remote one is not locked.

    Raises:
        ValueError: another process has locked it; with the refusal as its text.
        OSError: the folder cannot be made.
    """
    with contextlib.ExitStack() as stack:
        if not is_remote(folder):
            try:
                stack.enter_context(whole_files.locked(local_path(folder)))
            except BlockingIOError as error:
                raise UserError(refusal) from error
        yield


def require_filesystem(path: str) -> None:
    """Makes TensorFlow know a remote path's file system, and asks for the bucket.

    Without it, a bucket that cannot be reached looks like an empty one. Nothing is done
    for a local path; a bucket is asked for once a process.

    Raises:
        ValueError: this TensorFlow has no such file system.
        FileNotFoundError: there is no such bucket or server.
        PermissionError: the bucket is not for these credentials.
        ConnectionError: there is no answer within half a minute, or no good one.
    """
    if is_remote(path):
        scheme, _, rest = path.partition("://")
        _reach(f"{scheme}://{rest.split('/')[0]}/")


@functools.lru_cache
def _reach(root: str) -> None:
    try:
        try:
            _stat(root)
        except tf.errors.UnimplementedError:
            with warnings.catch_warnings():
                # Where it does not load it warns at length; the error says it in short.
                warnings.simplefilter("ignore")
                import tensorflow_io  # noqa: F401  registers more when imported
            _stat(root)
    except (ImportError, NotImplementedError, tf.errors.UnimplementedError) as error:
        raise UserError(
            f"{root}: this TensorFlow ({tf.__version__}) cannot open such paths "
            f"({error}). tensorflow-io's file systems load with tensorflow 2.16: "
            "pip install 'tensorflow==2.16.*' 'tf_keras==2.16.*', or copy the files "
            "to a local folder."
        ) from error
    except (TimeoutError, tf.errors.OpError) as error:
        kind, text = {
            tf.errors.NotFoundError: (FileNotFoundError, "no such bucket or server"),
            tf.errors.PermissionDeniedError: (PermissionError, "access is denied"),
            tf.errors.UnauthenticatedError: (PermissionError, "access is denied"),
        }.get(type(error), (ConnectionError, "cannot be reached"))
        detail = " ".join(getattr(error, "message", str(error)).split()).strip(" :.")
        raise kind(
            f"{root}: {text} ({detail}). Address and credentials are environment "
            "variables: see docs/remote.md."
        ) from error


def _stat(root: str) -> None:
    """tf.io.gfile.stat, but TimeoutError when _PATIENCE_S is over."""
    outcome = []

    def ask():
        try:
            outcome.append(tf.io.gfile.stat(root))
        except Exception as error:
            outcome.append(error)

    # A pool's thread would hold up the end of the process.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    _exit_without_destructors()
    if not outcome:
        raise TimeoutError(f"no answer in {_PATIENCE_S} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]


def _exit_without_destructors() -> None:
    """Lets the process end with its own status once a remote file system is in use.

    The S3 client of tensorflow-io 0.37 aborts when it is taken down at the end of a
    process (tensorflow/io issue 2039): every status becomes 134. By then Python has
    closed everything. The handler registered last runs first.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc
        libc.on_exit(libc._exit, None)


def join(folder: str, *names: str) -> str:
    """Joins with forward slashes, which every file system here takes."""
    return "/".join([folder.rstrip("/"), *names]) if folder else "/".join(names)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
    """Yields another name to write a file under; at the end it becomes the path.

    Its folder is made. Readers see the old file or the new one, never half of it, and
    the old one stays if the block raises. For s3:// and gs:// the other name is a local
    one: they have no rename (theirs is a copy and a removal, not of empty files).
    """
    require_filesystem(path)
    if "://" not in path:
        with whole_files.replacing(path) as temporary:
            yield temporary
        return
    if path.startswith(_OBJECT_STORES):
        with tempfile.TemporaryDirectory() as scratch:
            written = join(scratch, os.path.basename(path))
            yield written
            tf.io.gfile.copy(written, path, overwrite=True)
        return
    tf.io.gfile.makedirs(os.path.dirname(path) or ".")
    temporary = temporary_name(path)
    try:
        yield temporary
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(temporary)
        raise


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Yields a local path of a file or folder: its own, or a copy's for the while."""
    if not is_remote(path):
        yield local_path(path)
        return
    require_filesystem(path)
    with tempfile.TemporaryDirectory() as scratch:
        copied = join(scratch, os.path.basename(path.rstrip("/")))
        if not tf.io.gfile.isdir(path):
            tf.io.gfile.copy(path, copied)
        for folder, _, names in tf.io.gfile.walk(path):
            below = join(copied, folder[len(path) :].strip("/"))
            os.makedirs(below, exist_ok=True)
            for name in names:
                tf.io.gfile.copy(join(folder, name), join(below, name))
        yield copied


def names(folder: str) -> list[str]:
    """The names in a folder; those that are not UTF-8, which no file of ours has, go.

    TensorFlow tells of no name where one of them is not.
    """
    local = local_path(folder)
    if "://" in local:
        # On s3:// a folder's name comes with a slash.
        return [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
    return [name for name in os.listdir(local) if is_utf8(name)]


def is_utf8(path: str) -> bool:
    """Whether a path, as the system gave it, is text that can be written as UTF-8."""
    return path.isascii() or not re.search("[\ud800-\udfff]", path)


def is_pattern(path: str) -> bool:
    """Whether TensorFlow takes a path for a pattern where it matches paths."""
    return re.search(r"[*?[\\]", path) is not None


@contextlib.contextmanager
def plain(folder: str) -> Iterator[str]:
    """Yields a name of a folder that TensorFlow cannot take for a pattern.

    It finds the files of a checkpoint and of a SavedModel by a pattern that begins with
    their folder's name: one named s[12] does not match itself, and matches s1 beside
    it. Nor does it open one that is not UTF-8, as the folder that a program is started
    in may be. Most folders are yielded as they are; another name is good within the
    block, for the processes that this one starts too.

    Raises:
        ValueError: the folder is one of these, and no other name can be had here.
        FileNotFoundError: it is, and there is no such folder.
    """
    if not is_pattern(folder) and is_utf8(folder):
        yield folder
        return
    descriptors, local = f"/proc/{os.getpid()}/fd", local_path(folder)
    if "://" in local or not os.path.isdir(descriptors):
        why = "takes a name with *, ?, [ or \\ for a pattern"
        if not is_pattern(folder):
            why = "opens no name that is not UTF-8"
        raise UserError(f"{folder}: TensorFlow {why}. Use another name.")
    descriptor = os.open(local, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{descriptors}/{descriptor}"
    finally:
        os.close(descriptor)


def reason(error: Exception) -> str:
    """What TensorFlow or the system says is wrong with a file, in one line."""
    text = str(getattr(error, "message", error)).splitlines()[0]
    return re.sub(r"{{.*?}}\s*|\s*\[Op:\w+\]", "", text).strip()


def write_text(path: str, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with replacing(path) as temporary, tf.io.gfile.GFile(temporary, "w") as out:
        out.write(text)


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file, whole or not at all."""
    with replacing(path) as temporary, tf.io.gfile.GFile(temporary, "wb") as out:
        out.write(content)


def write_json(path: str, value: Any) -> None:
    """Writes a value as indented JSON, whole or not at all."""
    write_text(path, json_text.dump(value, indent=1) + "\n")


def read_json(path: str) -> Any:
    """Reads a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, as json_text.parse has it; names the file and what
            is wrong.
    """
    require_filesystem(path)
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"{path}: no such file.")
    with tf.io.gfile.GFile(path, "rb") as stream:
        content = stream.read()
    return json_text.parse(content, path, "a JSON file")
