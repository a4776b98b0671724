"""The log-mel in plain NumPy, one waveform a call; settings as log_mel_tensorflow.

Only the table of the mel filters is librosa's.
"""

import librosa
import numpy as np

from benchmarks.inputs import waveforms
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    given = list(waveforms(settings["n_waveforms"], settings["n_samples"]))
    filters = librosa.filters.mel(sr=16000, n_fft=400, n_mels=40, fmin=20, fmax=8000)
    window = np.hamming(400).astype("f")

    def compute(waveform: np.ndarray) -> np.ndarray:
        waveform = waveform - waveform.mean()
        waveform[1:] -= 0.97 * waveform[:-1]
        padded = np.pad(waveform, 200, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160]
        spectrum = np.fft.rfft(frames * window)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        level = 10 * np.log10(np.maximum(power.astype("f") @ filters.T, 1e-10))
        return np.maximum(level - level.max(), -80)

    def work():
        found = [compute(waveform) for waveform in given]
        save_once(settings["found"], log_mel=found)
        return {"n_waveforms": len(found)}

    return work


if __name__ == "__main__":
    serve(prepare)
