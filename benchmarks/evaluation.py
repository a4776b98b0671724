"""Rows of avl_tf.evaluate: a made small run, against importing and embedding alone."""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from avl_tf.errors import UserError
from benchmarks.rows import Row, brief

_ROOT = pathlib.Path(__file__).parent.parent
_OTHER = "importing and embedding"
# A set as large as one of the demo's, and its model.
_SET = {"n_recordings": 140, "n_seconds": 6, "dim": 1280}
_MODEL = {"audio_widths": (32, 32, 64, 64, 128), "embedding_dim": 256}
_QUICK_SET = {"n_recordings": 4, "n_seconds": 2, "dim": 8}
_QUICK_MODEL = {"audio_widths": (4, 4, 4, 4, 4), "embedding_dim": 8}


def measure(quick: bool) -> list[Row]:
    made, model = (_QUICK_SET, _QUICK_MODEL) if quick else (_SET, _MODEL)
    with tempfile.TemporaryDirectory() as folder:
        _run("benchmarks.sides.embed_alone", json.dumps([folder, made, model]))
        return rows(
            os.path.join(folder, "run"),
            f"xx={os.path.join(folder, 'records', 'train')}",
            os.path.join(folder, "recall.json"),
            n_repeats=1 if quick else 3,
        )


def rows(run_dir: str, sets: str, output: str, n_repeats: int) -> list[Row]:
    """Measures the evaluation of any run, in turns with the other side.

    Args:
        run_dir: a run directory.
        sets: as --evaluate; "" as in the run's training.
        output: JSON file for the results.
        n_repeats: how often.
    """
    ours, other = [], []
    given = [f"--evaluate={sets}"] if sets else []
    for _ in range(n_repeats):
        run = f"--run_dir={run_dir}", *given, f"--output={output}"
        ours.append(_run("avl_tf.evaluate", *run))
        other.append(_run("benchmarks.sides.embed_alone", json.dumps([run_dir, sets])))
    return [
        Row(
            name,
            statistics.median(of[name] for of in ours),
            statistics.median(of[name] for of in other),
            _OTHER,
            unit,
            f"{n_repeats} runs; of the other's, importing TensorFlow "
            f"{brief(statistics.median(of['import_s'] for of in other))} CPU-s",
            tuple(of[name] for of in ours),
            tuple(of[name] for of in other),
        )
        for name, unit in (("evaluate", "s"), ("evaluate_cpu", "CPU-s"))
    ]


def _run(module: str, *arguments: str) -> dict[str, float]:
    """Wall and CPU time of a program, and what it says of itself in its last line."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | {"PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    wall_s = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{module} ended with status {done.returncode}: {last}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = json.loads(done.stdout) if module.startswith("benchmarks") else {}
    return {"evaluate": wall_s, "evaluate_cpu": cpu_s, **said}
