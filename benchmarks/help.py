"""Rows of the first contact: --help, and a slip in a flag, of the slowest program."""

import pathlib
import re
import statistics
import subprocess
import sys
import time

from benchmarks.rows import Row, brief

_ROOT = pathlib.Path(__file__).parent.parent
_OTHER = "importing TensorFlow"


def measure(quick: bool) -> list[Row]:
    programs = re.findall(r"^ +avl-.* = (.*):cli$", _setup(), re.MULTILINE)
    n_repeats = 1 if quick else 5
    other = _seconds(["-c", "import tensorflow"], 1 if quick else 3)
    rows = []
    for name, argument in (("help", "--help"), ("help_slip", "--no_such_flag")):
        times = {
            program: _seconds(["-m", program, argument], 1)[0] for program in programs
        }
        slowest = max(times, key=times.__getitem__)
        fastest_s = brief(min(times.values()))
        note = (
            f"{slowest}, the slowest of {len(times)} programs in a run each, the "
            f"median of {n_repeats} runs; the fastest took {fastest_s} s"
        )
        ours = _seconds(["-m", slowest, argument], n_repeats)
        medians = map(statistics.median, (ours, other))
        rows.append(Row(name, *medians, _OTHER, "s", note, ours, other))
    return rows


def _setup() -> str:
    return (_ROOT / "setup.cfg").read_text()


def _seconds(arguments: list[str], n_repeats: int) -> tuple[float, ...]:
    """Wall times of Python with some arguments, from its start to its end."""
    times = []
    for _ in range(n_repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=_ROOT, capture_output=True)
        times.append(time.perf_counter() - start)
    return tuple(times)
