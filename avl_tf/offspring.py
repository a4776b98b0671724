"""Processes of ours: what starts them, what they may use, and that they end."""

import contextlib
import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


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
