"""Where the time before a stage's first step goes, as one line of the log."""

import os
import pathlib
import time
from collections.abc import Callable

import tensorflow as tf
from absl import logging

Step = Callable[..., dict[str, tf.Tensor]]


class StartUp:
    """A clock that runs from the process's start, or in a later stage from its own."""

    _is_first = True

    def __init__(self) -> None:
        now = time.monotonic()
        self._started = self._last = now
        self._parts: dict[str, float] = {}
        if StartUp._is_first and (age_s := _age_s()):
            self._started -= age_s
            self._parts["import"] = age_s
        StartUp._is_first = False

    def mark(self, part: str) -> None:
        """Says what the time since the last mark was for."""
        now = time.monotonic()
        self._parts[part], self._last = now - self._last, now

    def told(self) -> str:
        """As in "first step after 14.2 s: import 3.1, records 0.4, tracing 7.9"."""
        parts = ", ".join(f"{part} {s:.1f}" for part, s in self._parts.items())
        return f"first step after {self._last - self._started:.1f} s: {parts}"

    def watched(self, take_step: Step, run_dir: str) -> Step:
        """The same step, whose first call is timed to its end and told in the log."""
        is_first = True

        def step(*arguments) -> dict[str, tf.Tensor]:
            nonlocal is_first
            if not is_first:
                return take_step(*arguments)
            is_first = False
            self.mark("first batch")
            measured = take_step(*arguments)
            float(measured["loss"])  # it is there when the step is done
            self.mark("tracing")
            logging.info("%s: %s", run_dir, self.told())
            return measured

        return step


def _age_s() -> float:
    """Seconds since this process began; 0 where the system does not tell."""
    stat = pathlib.Path("/proc/self/stat")
    if not stat.exists():
        return 0.0
    # Behind the name, which may hold spaces; in ticks since the machine's start.
    began = int(stat.read_text().rpartition(")")[2].split()[19])
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began / ticks_per_s
