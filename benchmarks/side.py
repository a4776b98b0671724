"""What a side does in its own process: prepare once, then repeat its work when told.

    python -m benchmarks.sides.product_tensorflow '{"size": 512}'

It answers every line on the standard input by one line of JSON.
"""

import json
import os
import pathlib
import re
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

Facts = dict[str, Any]
Work = Callable[[], Facts]


def serve(prepare: Callable[[dict], Work]) -> None:
    """Prepares the work, does it to warm up, then once for each line of input.

    Args:
        prepare: takes the settings, returns the work; the work returns what is to be
            known of it (a loss, how many clips it was).

    The setting n_warm_ups is 2 if it is not there. The first answer has prepare_s,
    warm_up_s (of each, the first of which traces and compiles), device and the last
    one's facts. Each answer after has wall_s and cpu_s (user +
    system of all threads), peak_mb (the process's largest resident size so far) and
    the repeat's facts.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    # What libraries print is no answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    settings = json.loads(sys.argv[1])
    started = time.perf_counter()
    work = prepare(settings)
    ready = {"prepare_s": time.perf_counter() - started, "warm_up_s": []}
    for _ in range(settings.get("n_warm_ups", 2)):
        started = time.perf_counter()
        ready.update(work())
        ready["warm_up_s"].append(time.perf_counter() - started)
    device = {"device": _device()}
    _answer(answers, ready | device)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        facts = work()
        wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
        answer = {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": _peak_mb()}
        _answer(answers, answer | facts | device)


def save_once(path: str, **arrays: npt.ArrayLike) -> None:
    """Keeps what the first repeat found, as an .npz, to be checked against the other's.

    Later repeats only look whether it is there.
    """
    if not os.path.exists(path):
        np.savez(path, **arrays)


def _device() -> str:
    """What this side's library computes on, as in "1 GPU (Tesla T4)"; "" of neither."""
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            return f"1 GPU ({torch.cuda.get_device_name(0)})"
        return "the CPU"
    if "tensorflow" in sys.modules:
        from avl_tf import processors

        return processors.describe()[0]
    return ""


def _peak_mb() -> float:
    """The largest resident size of this process so far."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # getrusage's would not be below that of the process that has started this one.
        (size_kib,) = re.findall(r"VmHWM:\s+(\d+)", status.read_text())
    else:
        size_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(size_kib) * 1024 / 1e6


def _answer(answers: TextIO, values: dict) -> None:
    print(json.dumps(values), file=answers, flush=True)
