"""Rows of the input pipeline: against a training step, and against the authors' npz."""

import os
import tempfile

import numpy as np

from benchmarks.duel import Run, Side, check_equal, compare, in_turns
from benchmarks.rows import Row
from benchmarks.steps import CLIPS, MODEL, QUICK_CLIPS, QUICK_MODEL

_CLIPS_PER_RECORDING = 32
_NPZ = "authors' npz reader"


def measure(quick: bool) -> list[Row]:
    # Of 6.5 minutes, as HowTo100M's videos are on average.
    made = {"n_recordings": 64, "n_seconds": 390, "dim": 2048}
    clip_s, batch_size, n_batches = 10.0, 128, 64
    if quick:
        made = {"n_recordings": 4, "n_seconds": 20, "dim": 16}
        clip_s, batch_size, n_batches = 2.0, 64, 4
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            "folder": os.path.join(scratch, "recordings"),
            "clip_s": clip_s,
            "batch_size": batch_size,
            "n_batches": n_batches,
        }
        found = [os.path.join(scratch, f"{of}.npz") for of in ("ours", "other")]
        pipeline = {**settings, "recordings": made, "found": found[0]}
        npz = {
            **settings,
            "clips_per_recording": _CLIPS_PER_RECORDING,
            "expected": found[0],
            "found": found[1],
        }
        return [
            _against_step(pipeline, quick),
            *_against_npz(pipeline, npz, n_repeats=2 if quick else 5),
        ]


def _against_step(pipeline: dict, quick: bool) -> Row:
    clips, model = (QUICK_CLIPS, QUICK_MODEL) if quick else (CLIPS, MODEL)
    step = {"work": "training", "clips": clips, "model": model}
    with (
        Side("records_tensorflow", **pipeline) as ours,
        Side("avlnet_tensorflow", **step) as other,
    ):
        runs = in_turns(2 if quick else 5, ours, other)
    return compare(
        "pipeline_vs_step",
        "clips/s",
        lambda run: run["n_clips"] / run["wall_s"],
        *runs,
        "our training step",
        f"batches of {pipeline['batch_size']} from the page cache, alone; a step of "
        f"{clips['n_clips']} clips",
    )


def _against_npz(pipeline: dict, npz: dict, n_repeats: int) -> list[Row]:
    with (
        Side("records_tensorflow", n_cores=1, **pipeline) as ours,
        Side("npz_torch", n_cores=1, **npz) as other,
    ):
        equal = _check(pipeline["found"], npz["found"])
        runs = in_turns(n_repeats, ours, other)
    each = (
        f"{equal}; {_CLIPS_PER_RECORDING} windows of a recording, page cache, one core"
    )
    return [
        compare("records_vs_npz", "clips/CPU-s", _clips_per_cpu_s, *runs, _NPZ, each),
        compare("reading_rate", "MB/s", _mb_per_s, *runs, _NPZ, each),
        compare("recording_size", "MB", lambda run: run["mb_each"], *runs, _NPZ),
    ]


def _check(ours: str, other: str) -> str:
    ours, other = np.load(ours), np.load(other)
    return ", ".join(
        check_equal(name, ours[name], other[name], tolerance)
        for name, tolerance in (("log_mel", 0), ("visual", 1e-6))
    )


def _clips_per_cpu_s(run: Run) -> float:
    return run["n_clips"] / run["cpu_s"]


def _mb_per_s(run: Run) -> float:
    n_recordings = run["n_clips"] / _CLIPS_PER_RECORDING
    return n_recordings * run["mb_each"] / run["wall_s"]
