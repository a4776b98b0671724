"""A process that reads files which may do it harm; tests/bounded.py starts it.

A request is a line of JSON, the kind and its folder; the answer is one with what came
of it, as program.py tells a user, the seconds and the memory.
"""

import contextlib
import io
import json
import os
import pathlib
import sys
import time
import traceback
from typing import TextIO

from avl_tf import program
from tests import mutation_kinds

_LONGEST = 600


def main() -> None:
    # What FFmpeg and TensorFlow print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    mutation_kinds.use_mean_for_cnns()
    for request in sys.stdin:
        kind, folder = json.loads(request)
        used = memory("VmRSS")
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is now's
        started = time.monotonic()
        fault, told = "", ""
        for use in mutation_kinds.KINDS[kind].use:
            found, line = _outcome(lambda: use(pathlib.Path(folder)))  # noqa: B023
            fault, told = fault or found, told or line
        seconds = time.monotonic() - started
        grown = memory("VmHWM") - used
        print(json.dumps([fault, told, seconds, grown]), file=answers, flush=True)


def memory(name: str, pid: int | str = "self") -> int:
    """Bytes of a process: VmRSS, resident now, or VmHWM, at its peak."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0  # it is ending


def _outcome(use) -> tuple[str, str]:
    """Uses a file as a program does: what is wrong with that, and the line it told."""
    terminal = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")
    try:
        with contextlib.redirect_stderr(terminal):
            program.run(use)
    except SystemExit as end:
        told = _written(terminal)
        return (unclear(told), told) if end.code else ("", "")
    except BaseException as error:
        return "".join(traceback.format_exception(error))[-6000:], ""
    return "", ""


def _written(terminal: TextIO) -> str:
    terminal.seek(0)
    return terminal.read()


def unclear(told: str) -> str:
    """Why what a program printed is not one clear line; empty if it is."""
    line = told.removesuffix("\n").removeprefix("error: ")
    if not line.strip() or not told.startswith("error: "):
        return f"no message: {told!r}"
    if not line.isprintable():
        return f"several lines, or control characters: {told!r:.2000}"
    if len(line) > _LONGEST:
        return f"a message of {len(line)} characters: {line:.300}"
    return ""


if __name__ == "__main__":
    main()
