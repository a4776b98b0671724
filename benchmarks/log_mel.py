"""Rows of the log-mel front end, on one core: against librosa's and NumPy's forms."""

import os
import tempfile

import numpy as np

from benchmarks.duel import Run, Side, check_equal, compare, in_turns
from benchmarks.rows import Row

_OTHERS = {"log_mel": "librosa", "log_mel_numpy": "NumPy"}


def measure(quick: bool) -> list[Row]:
    settings = {"n_waveforms": 20, "n_samples": 160000}
    if quick:
        settings = {"n_waveforms": 2, "n_samples": 16000}
    n_repeats = 2 if quick else 21
    with tempfile.TemporaryDirectory() as folder:

        def side(program: str) -> Side:
            found = os.path.join(folder, f"{program}.npz")
            return Side(program, n_cores=1, **settings, found=found)

        with (
            side("log_mel_tensorflow") as ours,
            side("log_mel_librosa") as librosa,
            side("log_mel_numpy") as numpy,
        ):
            arrays = [
                np.load(of.settings["found"])["log_mel"]
                for of in (ours, librosa, numpy)
            ]
            runs = in_turns(n_repeats, ours, librosa, numpy)
    return [
        compare(
            name,
            "ms",
            _ms_a_waveform,
            runs[0],
            other_runs,
            other_name,
            f"{check_equal('dB', arrays[0], array, 0.01)}; "
            f"{settings['n_samples'] / 16000:g} s a waveform, one core",
        )
        for (name, other_name), other_runs, array in zip(
            _OTHERS.items(), runs[1:], arrays[1:], strict=True
        )
    ]


def _ms_a_waveform(run: Run) -> float:
    return 1000 * run["wall_s"] / run["n_waveforms"]
