"""Rows of a sweep: against its settings, trained one by one with avl_tf.train."""

import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from benchmarks import recordings
from benchmarks.rows import Row, brief

_OTHER = "its settings by avl_tf.train"
_HEADS = ("official", "paper", "linear", "nonlinear")
# The demo's, with few steps: what is no step counts the most.
_STAGE = """\
--audio_widths=32,32,64,64,128
--embedding_dim=256
--clip_s=6
--clips_per_recording=16
--batch_size=64
--epochs={epochs}
--evaluate_every={epochs}
--records={records}
--evaluate=x={records}
--evaluation_clip_s=6
"""


def measure(quick: bool) -> list[Row]:
    heads = _HEADS[:2] if quick else _HEADS
    with tempfile.TemporaryDirectory() as folder:
        recordings.write(folder, 4 if quick else 16, 45, 1280)
        flagfile = os.path.join(folder, "stage.flags")
        records = os.path.join(folder, "records", "train")
        epochs = 1 if quick else 10
        pathlib.Path(flagfile).write_text(
            _STAGE.format(epochs=epochs, records=records), encoding="utf-8"
        )
        settings = [f"--setting={head}: --audio_head={head}" for head in heads]
        base = f"--base_flagfile={flagfile}"
        ours = _run("sweep", folder, base, "--at_once=1", *settings)
        others = [
            _run("train", folder, f"--flagfile={flagfile}", f"--audio_head={head}")
            for head in heads
        ]
    wall, cpu = (sum(times) for times in zip(*others, strict=True))
    note = f"{len(heads)} settings, once each; one takes {brief(wall / len(heads))} s"
    return [
        Row("sweep", ours[0], wall, _OTHER, "s", note),
        Row("sweep_cpu", ours[1], cpu, _OTHER, "CPU-s", note),
    ]


def _run(program: str, folder: str, *arguments: str) -> tuple[float, float]:
    """Wall and CPU time of a program in a run directory of its own."""
    run_dir = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", f"avl_tf.{program}", f"--run_dir={run_dir}/run"]
    before, start = _cpu_s(), time.perf_counter()
    subprocess.run([*command, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start, _cpu_s() - before


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
