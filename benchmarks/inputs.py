"""Random inputs, the same for every side: clips, waveforms, embeddings."""

import numpy as np


def random_clips(
    n_clips: int, n_frames: int, visual_dims: list[int], n_mels: int = 40
) -> dict[str, np.ndarray]:
    """Makes a batch: log_mel [B, T, F] in dB, n_frames [B], visual [B, sum of dims]."""
    random = np.random.default_rng(0)
    streams = [np.abs(random.normal(size=(n_clips, dim))) for dim in visual_dims]
    visual = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in streams]
    return {
        "log_mel": random.uniform(-80, 0, (n_clips, n_frames, n_mels)).astype("f"),
        "n_frames": np.full(n_clips, n_frames, np.int32),
        "visual": np.concatenate(visual, axis=1).astype("f"),
    }


def waveforms(n_waveforms: int, n_samples: int) -> np.ndarray:
    """Makes noise, float32 [n_waveforms, n_samples], whose loudness rises and falls."""
    random = np.random.default_rng(0)
    loudness = 0.2 + 0.1 * np.sin(np.linspace(0, 20, n_samples))
    noise = random.normal(size=(n_waveforms, n_samples))
    return np.clip(noise * loudness, -1, 1).astype("f")


def embeddings(n: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Makes float32 [n, dim] embeddings of both sides, a little alike."""
    random = np.random.default_rng(0)
    audio = random.standard_normal((n, dim), np.float32)
    visual = random.standard_normal((n, dim), np.float32)
    for row in range(n):  # all at once would be the peak of what is measured
        visual[row] += 0.05 * audio[row]
    return audio, visual


def similarity(n: int) -> np.ndarray:
    """Makes a float32 [n, n] similarity matrix whose diagonal is a little higher."""
    matrix = np.random.default_rng(0).standard_normal((n, n), np.float32)
    matrix[np.arange(n), np.arange(n)] += 2
    return matrix
