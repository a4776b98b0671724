"""Processes that are ended by the one that started them, and by nobody else.

Ctrl-C goes to all processes of a terminal, a kill to one. Who starts workers stops them
in order; should it be killed itself, the kernel kills them at once (on Linux): no code
of theirs has to run for it, which may sit in a library for seconds.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker

from avl_tf.offspring import end_with_parent as end_with_parent
from avl_tf.offspring import n_cores as n_cores
from avl_tf.offspring import of_module as of_module

_PARENT = "DATA_PREP_PARENT"
# The tracker removes what an interrupted process has left; nobody can do more.
_OF_TRACKER = "ignore:resource_tracker:UserWarning"


def environment() -> dict[str, str]:
    """What tells a process that imports data_prep to end with this one."""
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
