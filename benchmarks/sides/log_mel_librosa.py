"""The authors' log-mel by librosa, one waveform a call; settings as log_mel_tensorflow.

Source: authors' audio_to_spectrograms.py (LoadAudio).
Differs: the mel filters are made once, the authors make them anew each time.
"""

import librosa
import numpy as np
import scipy.signal

from benchmarks.inputs import waveforms
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    given = list(waveforms(settings["n_waveforms"], settings["n_samples"]))
    filters = librosa.filters.mel(sr=16000, n_fft=400, n_mels=40, fmin=20, fmax=8000)

    def compute(waveform: np.ndarray) -> np.ndarray:
        waveform = waveform - waveform.mean()
        waveform = np.append(waveform[0], waveform[1:] - 0.97 * waveform[:-1])
        spectrum = librosa.stft(
            waveform,
            n_fft=400,
            hop_length=160,
            win_length=400,
            window=scipy.signal.windows.hamming,  # called, so symmetric
            pad_mode="reflect",
        )
        return librosa.power_to_db(filters @ np.abs(spectrum) ** 2, ref=np.max)

    def work():
        found = [compute(waveform).T for waveform in given]
        save_once(settings["found"], log_mel=found)
        return {"n_waveforms": len(found)}

    return work


if __name__ == "__main__":
    serve(prepare)
