"""Processes that are ended by the one that started them, and by nobody else.

Ctrl-C goes to all processes of a terminal, a kill to one. Who starts workers stops them
in order; should it be killed itself, the kernel kills them at once (on Linux): no code
of theirs has to run for it, which may sit in a library for seconds.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker

_PR_SET_PDEATHSIG = 1
_PARENT = "AVL_TF_PARENT"
# The tracker removes what an interrupted process has left; nobody can do more.
_OF_TRACKER = "ignore:resource_tracker:UserWarning"


def of_module() -> dict[str, str]:
    """An environment in which python -m finds our modules, from any folder.

    They are found where this process found them, before what lies in that folder.
    """
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def end_with_parent() -> None:
    """Lets the kernel end this process, and what it becomes, with its parent."""
    with contextlib.suppress(AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def environment() -> dict[str, str]:
    """What tells a process that imports avl_tf to end with this one."""
    return {_PARENT: str(os.getpid())}


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Lets processes that this thread starts, and its new threads, be such ones.

    They end with the thread that starts them, which must live as long as they are to.
    """
    os.environ.update(environment())
    if _OF_TRACKER not in sys.warnoptions:  # its process is given them
        sys.warnoptions.append(_OF_TRACKER)
    resource_tracker.ensure_running()  # or it would be started later, and unblock
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent() -> None:
    """Lets this process end with its parent, if that asks for it."""
    parent = int(os.environ.pop(_PARENT, 0))
    if not parent:
        return
    if parent == os.getppid():
        end_with_parent()
    # It may have died before; or else it is further up, and what is between decides.
    if parent != os.getppid() and not _is_alive(parent):
        os._exit(1)


def _is_alive(process: int) -> bool:
    """Whether a process runs, and does not only wait to be buried; Linux only."""
    try:
        with open(f"/proc/{process}/stat", "rb") as status:
            return status.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return not os.path.exists("/proc/self/stat")
