"""Local files that are there as a whole or not at all, and locks; no TensorFlow here.

avl_tf/files.py does the same at remote paths.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import uuid
from collections.abc import Iterator


def temporary_name(path: str) -> str:
    """Names a file or folder beside a path that no other process writes to.

    No such name begins with another: a rename on S3 takes along every file whose name
    begins with the one that is renamed.
    """
    return f"{path.rstrip('/')}.{uuid.uuid4().hex}.tmp"


def is_temporary_name(name: str, of: str | None = None) -> bool:
    """Whether temporary_name may have made a name of another, both without a folder.

    None is a name of any other.
    """
    other = ".+" if of is None else re.escape(of)
    return bool(re.fullmatch(other + r"\.[0-9a-f]{32}\.tmp", name, re.DOTALL))


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[str]:
    """Yields another name to write a file under; at the end it becomes the path.

    Its folder is made. Readers see the old file or the new one, never half of it. If
    the block raises, the old one stays and the other name is gone.

    Raises:
        OSError: the folder cannot be made, or the file not be put in its place.
    """
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def lock_folder(path: str | os.PathLike) -> int:
    """Makes a folder if it is not there, and locks it.

    Returns:
        The descriptor that holds the lock, to be closed. It goes with the process,
        however that ends, and not to others that the process starts.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: it cannot be made, or not be locked.
    """
    folder = pathlib.Path(path)
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed it between the opening and the lock.
            if folder.exists() and os.path.samestat(
                os.fstat(descriptor), folder.stat()
            ):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """Locks a folder for the while, as lock_folder does.

    Folders that were made for it go at the end if nothing was written.
    """
    folder = pathlib.Path(path)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    descriptor = lock_folder(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # something was written
            for each in made:
                each.rmdir()
        os.close(descriptor)


class Reader:
    """Tells other processes that a file is read, as long as this object lives.

    Where the file system has locks. The file may get another name meanwhile, or be
    replaced: it is the content that is locked, not the name.
    """

    def __init__(self, path: str):
        self._descriptor = os.open(path, os.O_RDONLY)
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def has(self, path: str) -> bool:
        """Whether a path leads to this file still."""
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), os.stat(path))
        return False

    def __del__(self):
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def is_read(path: str) -> bool:
    """Whether there is a Reader of a file, in whatever process."""
    descriptor = os.open(path, os.O_RDWR)  # as network file systems want it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def used(folder: str, *below: str) -> Iterator[None]:
    """Notes that this process makes files in a folder; removes what others left.

    Files under a temporary name are those of processes that were killed if no process
    of this machine uses the folder; otherwise they stay, for the next.

    Args:
        folder: made if it is not there.
        below: folders in it, in which and below which files are made too.

    Raises:
        OSError: the folder cannot be made.
    """
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # used; or a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_remains(folder, below)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _remove_remains(folder: str, below: tuple[str, ...]) -> None:
    places = [(folder, os.listdir(folder))]
    for name in below:
        walk = os.walk(os.path.join(folder, name))
        places += [(place, names) for place, _, names in walk]
    for place, names in places:
        for name in names:
            path = os.path.join(place, name)
            if is_temporary_name(name) and not os.path.isdir(path):
                os.remove(path)
