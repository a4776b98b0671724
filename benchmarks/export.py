"""A row of the export's latency: one spoken query, against the model in Python."""

import os
import tempfile

import numpy as np

from benchmarks.duel import Run, Side, check_equal, compare, in_turns
from benchmarks.rows import Row
from benchmarks.steps import MODEL, QUICK_MODEL


def measure(quick: bool) -> list[Row]:
    model, n_samples = (QUICK_MODEL, 16000) if quick else (MODEL, 160000)
    with tempfile.TemporaryDirectory() as scratch:
        found = [os.path.join(scratch, f"{of}.npz") for of in ("ours", "other")]
        run_dir = os.path.join(scratch, "run")
        export = os.path.join(run_dir, "export", "1")
        query = {"n_samples": n_samples}
        with (
            Side(
                "query_keras", **query, model=model, run_dir=run_dir, found=found[1]
            ) as other,
            Side("query_saved_model", **query, export=export, found=found[0]) as ours,
        ):
            arrays = [np.load(path)["audio_embedding"] for path in found]
            largest = np.abs(arrays[1]).max()
            tolerance = 1e-2 if ours.on_gpu else 1e-4
            equal = check_equal("embedding", *(a / largest for a in arrays), tolerance)
            runs = in_turns(3 if quick else 21, ours, other)
    note = f"{equal}; a waveform of {n_samples / 16000:g} s, a call each"
    return [compare("export_latency", "ms", _ms, *runs, "Keras model in Python", note)]


def _ms(run: Run) -> float:
    return 1000 * run["wall_s"]
