"""The authors' way to batches: three np.load a recording, windows one by one, PyTorch.

Settings: folder (of recordings.write); clip_s; clips_per_recording; batch_size and
n_batches to a repeat; expected: the .npz of records_tensorflow, whose clips are cut
here too; found: an .npz for them.

Source: authors' youtube_dataloader.py, and the stacking of their DataLoader.
Differs: one process and one thread, and nothing is sent from process to process.
"""

import glob
import itertools
import os
from collections.abc import Sequence

import librosa
import numpy as np
import torch

from benchmarks.side import Work, save_once, serve

_RATES = {"2d": 1.0, "3d": 1.5}  # features a second
_FRAMES = {"sr": 16000, "hop_length": 160, "n_fft": 400}


def prepare(settings: dict) -> Work:
    folder = os.path.join(settings["folder"], "npz")
    clip_s, n_windows = settings["clip_s"], settings["clips_per_recording"]
    _cut_expected(folder, clip_s, settings["expected"], settings["found"])
    specs = glob.glob(os.path.join(folder, "*_spec.npz"))
    names = sorted(path.removesuffix("_spec.npz") for path in specs)
    n_bytes = sum(os.path.getsize(path) for path in glob.glob(f"{folder}/*.npz"))
    recordings = itertools.cycle(names)

    def work():
        for _ in range(settings["n_batches"]):
            clips = [
                _random_clips(next(recordings), n_windows, clip_s)
                for _ in range(settings["batch_size"] // n_windows)
            ]
            for parts in zip(*clips, strict=True):
                torch.stack(parts)
        n_clips = settings["n_batches"] * settings["batch_size"]
        return {"n_clips": n_clips, "mb_each": n_bytes / len(names) / 1e6}

    return work


def _random_clips(
    name: str, n_windows: int, clip_s: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random clips of a recording, of whole seconds: as _clips."""
    spectrogram = np.load(f"{name}_spec.npz")["arr_0"]
    duration_s = int(librosa.frames_to_time(spectrogram.shape[1], **_FRAMES))
    latest = max(1, duration_s - (int(clip_s) + 1))
    starts_s = np.random.choice(range(latest), n_windows, replace=True)
    return _clips(name, spectrogram, starts_s, clip_s)


def _clips(
    name: str, spectrogram: np.ndarray, starts_s: Sequence[float], clip_s: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-mels float16 [M, F, T] and visual vectors float32 [M, 2 D]."""
    n_frames = round(100 * clip_s)
    windows = []
    for start_s in starts_s:
        start = max(0, librosa.time_to_frames(start_s, **_FRAMES))
        window = spectrogram[:, start : start + n_frames]
        if window.shape[1] < n_frames:
            window = np.pad(window, ((0, 0), (0, n_frames - window.shape[1])))
        windows.append(torch.from_numpy(window).unsqueeze(0))
    streams = []
    for kind, rate in _RATES.items():
        features = torch.from_numpy(np.load(f"{name}_{kind}.npz")["features"]).float()
        pooled = torch.zeros(len(starts_s), features.shape[1])
        for i, start_s in enumerate(starts_s):
            first, behind = int(start_s * rate), int((start_s + clip_s) * rate) + 1
            highest = features[first:behind].max(dim=0)[0]
            pooled[i] = torch.nn.functional.normalize(highest, dim=0)
        streams.append(pooled)
    return torch.cat(windows), torch.cat(streams, dim=1)


def _cut_expected(folder: str, clip_s: float, expected: str, found: str) -> None:
    """Cuts the clips whose ids, "record@start-end", are expected."""
    log_mels, visuals = [], []
    for clip_id in np.load(expected)["clip_id"].tolist():
        record, _, span = clip_id.partition("@")
        name = os.path.join(folder, record)
        spectrogram = np.load(f"{name}_spec.npz")["arr_0"]
        start_s = float(span.split("-")[0])
        log_mel, visual = _clips(name, spectrogram, [start_s], clip_s)
        log_mels.append(log_mel[0].T.numpy())
        visuals.append(visual[0].numpy())
    save_once(found, log_mel=log_mels, visual=visuals)


if __name__ == "__main__":
    serve(prepare)
