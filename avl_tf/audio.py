"""The audio front end: waveforms in, log-mel spectrograms out, all in TF ops.

The same ops run in data_prep.extract, inside the exported SavedModel and in search,
so that a query is heard exactly as the training data was.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from avl_tf.settings.audio import AudioConfig
from avl_tf.spool import Spool

# Samples that are looked at together where all of them are added up.
_PIECE = 1_000_000


def n_frames(n_samples, config: AudioConfig):
    """Counts the log-mel frames of a waveform of n_samples (int or integer tensor)."""
    return 1 + n_samples // config.hop_length


def log_mel(
    waveform: tf.Tensor,
    config: AudioConfig,
    n_samples: tf.Tensor | None = None,
    portable: bool = False,
) -> tf.Tensor:
    """Computes log-mel spectrograms of mono waveforms.

    Args:
        waveform: float32 [B, S], range [-1, 1], at config.sample_rate Hz.
        config: AudioConfig.
        n_samples: int [B], the length of each waveform when the batch is padded; None
            means that all S samples count. What lies behind them has no influence.

    Returns:
        float32 [B, T, F], dB relative to the waveform's loudest bin, in
        [-config.dynamic_range_db, 0]; T = n_frames(S). Frames from n_frames(n_samples)
        on are 0. A silent waveform is 0 dB everywhere, as the authors' is.

    Raises:
        ValueError: waveform is not of rank 2.

    Source: authors' audio_to_spectrograms.py (LoadAudio), with librosa's reflect
        padding of the time and SciPy's symmetric Hamming window.
    Differs: an empty waveform is one silent frame (the authors: two).
    """
    waveform = tf.convert_to_tensor(waveform, tf.float32)
    if waveform.shape.rank != 2:
        raise ValueError(
            f"log_mel takes waveforms of shape [B, S], got {waveform.shape}. Add a "
            "batch axis to a single waveform: waveform[tf.newaxis]."
        )
    size = tf.shape(waveform)[1]
    total_frames = n_frames(size, config)
    # An empty batch column is one sample of silence, so that there is a frame.
    waveform = tf.pad(waveform, [[0, 0], [0, tf.maximum(0, 1 - size)]])
    size = tf.maximum(size, 1)
    lengths = tf.fill(tf.shape(waveform)[:1], size)
    if n_samples is not None:
        lengths = tf.clip_by_value(tf.cast(n_samples, tf.int32), 1, size)
        inside = tf.sequence_mask(lengths, size)
        waveform = tf.where(inside, waveform, 0.0)

    # In double precision the sum of 16-bit samples is exact, in whatever order.
    precise = tf.float32 if portable else tf.float64
    total = tf.reduce_sum(tf.cast(waveform, precise), axis=1)
    mean = tf.cast(total / tf.cast(lengths, precise), tf.float32)
    waveform = waveform - mean[:, tf.newaxis]
    previous = waveform[:, :-1] * config.preemphasis
    waveform = waveform - tf.pad(previous, [[0, 0], [1, 0]])
    padded = _reflect_pad(waveform, lengths, config.window_length // 2)
    level = _level(padded, config, portable)

    valid = tf.sequence_mask(n_frames(lengths, config), total_frames)[..., tf.newaxis]
    loudest = tf.reduce_max(tf.where(valid, level, -np.inf), [1, 2], keepdims=True)
    relative = tf.maximum(level - loudest, -config.dynamic_range_db)
    return tf.where(valid, relative, 0.0)


def long_log_mel(
    samples: np.ndarray | Spool,
    config: AudioConfig,
    chunk_frames: int = 6000,
    dtype: npt.DTypeLike = np.float32,
) -> np.ndarray:
    """Computes the log-mel spectrogram of a recording of any length, chunk by chunk.

    Args:
        samples: int16 [S], S > 0, at config.sample_rate Hz.
        config: AudioConfig.
        chunk_frames: how many frames are computed at a time.
        dtype: to what the log-mel is rounded.

    Returns:
        [T, F], the same bit for bit in every call on one processor with one
        number of threads, and within 2e-4 dB of log_mel(samples / 32768) and of other
        chunk_frames: what float32 sums of 201 terms may differ by in another order.
        The memory needed beside it and the samples does not depend on S if they are in
        a Spool with a folder: there the levels wait until the loudest is known.

    Raises:
        UserError: there is no room for them.
    """
    folder = samples.folder if isinstance(samples, Spool) else None
    firsts = range(0, len(samples), _PIECE)
    # Exact, in whatever order.
    total = sum(samples[i : i + _PIECE].sum(dtype=np.int64) for i in firsts)
    mean = np.float32(total / 32768 / len(samples))
    total_frames, n_mels = n_frames(len(samples), config), config.n_mels
    log_mel, loudest = np.empty((total_frames, n_mels), dtype), -np.inf
    starts = range(0, total_frames, chunk_frames)
    with Spool(np.float32, folder) as levels:
        for start in starts:
            stop = min(start + chunk_frames, total_frames)
            padded = _emphasised(samples, mean, start, stop, config)
            level = _compiled_level(config)(padded[np.newaxis]).numpy()
            loudest = max(loudest, level.max())
            levels.append(level)
        for start in starts:
            level = levels[start * n_mels : (start + chunk_frames) * n_mels]
            relative = np.maximum(level - loudest, -config.dynamic_range_db)
            log_mel[start : start + chunk_frames] = relative.reshape(-1, n_mels)
    return log_mel


def resample(waveform: tf.Tensor, rate: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """Resamples float32 [S] from rate to sample_rate, both whole numbers of Hz.

    By cutting or padding the spectrum, exact for what both rates hold.

    The transform is over whole seconds, which are whole numbers of samples at both
    rates, and takes them for periodic: half a second of silence at least stands
    between the end and the beginning.
    """
    n_samples = tf.size(waveform, tf.int64)
    rate = tf.cast(rate, tf.int64)
    n_seconds = (n_samples + rate // 2 + rate - 1) // rate
    spectrum = tf.signal.rfft(tf.pad(waveform, [[0, n_seconds * rate - n_samples]]))
    n_bins = n_seconds * (tf.minimum(rate, sample_rate) // 2) + 1
    n_bins_out = n_seconds * sample_rate // 2 + 1
    spectrum = tf.pad(spectrum[:n_bins], [[0, tf.maximum(n_bins_out - n_bins, 0)]])
    resampled = tf.signal.irfft(spectrum, [tf.cast(n_seconds * sample_rate, tf.int32)])
    gain = tf.cast(sample_rate / rate, tf.float32)
    return (resampled * gain)[: n_samples * sample_rate // rate]


def _emphasised(
    samples: np.ndarray | Spool,
    mean: np.float32,
    start: int,
    stop: int,
    config: AudioConfig,
) -> np.ndarray:
    """What the frames from start to stop look at: float32, mirrored at the ends."""
    n_samples = len(samples)
    begin = start * config.hop_length - config.window_length // 2
    end = begin + (stop - start - 1) * config.hop_length + config.window_length

    def mirrored(first: int, last: int) -> np.ndarray:
        positions, end = np.arange(first, max(first, last)), n_samples - 1
        return _mirrored(positions, end, max(2 * end, 1))

    left, right = mirrored(begin, min(end, 0)), mirrored(max(begin, n_samples), end)
    first, last = max(begin, 0), min(end, n_samples)
    # The samples that are needed, and one before for the emphasis.
    low = max(0, min([first, *left, *right]) - 1)
    high = max([last, *(left + 1), *(right + 1)])
    waveform = samples[low:high].astype(np.float32)
    waveform /= 32768
    waveform -= mean
    emphasised = waveform.copy()
    emphasised[1:] -= waveform[:-1] * np.float32(config.preemphasis)
    inner = emphasised[first - low : last - low]
    return np.concatenate([emphasised[left - low], inner, emphasised[right - low]])


def _level(padded: tf.Tensor, config: AudioConfig, portable: bool = False) -> tf.Tensor:
    """Mel levels in dB, [B, T, F], of emphasised waveforms padded at both ends."""
    frames = tf.signal.frame(padded, config.window_length, config.hop_length)
    window = _symmetric_hamming(config.window_length)
    if portable:
        real, imaginary = (tf.matmul(frames * window, part) for part in _dft(config))
    else:
        spectrum = tf.signal.rfft(frames * window)
        real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    power = tf.math.square(real)
    power += tf.math.square(imaginary)
    mel = tf.matmul(power, _mel_filters(config))
    return _decibel(tf.maximum(mel, config.power_floor))


@functools.lru_cache
def _compiled_level(config: AudioConfig) -> Callable[[np.ndarray], tf.Tensor]:
    """_level as a graph: its bits in less time.

    TensorFlow 2.16 loses 0.3 kB for every constant of an operation that is run at once,
    16 kB a recording here.
    """
    padded = tf.TensorSpec([1, None], tf.float32)
    return tf.function(lambda x: _level(x, config), [padded], autograph=False)


def _decibel(power: tf.Tensor) -> tf.Tensor:
    return 10.0 / np.log(10.0) * tf.math.log(power)


def _reflect_pad(waveform: tf.Tensor, lengths: tf.Tensor, n_pad: int) -> tf.Tensor:
    """Mirrors each waveform at its own two ends, over and over if it is short.

    tf.pad mirrors once and at the padded end; NumPy's reflect is what is wanted. Behind
    a shorter waveform's right mirror nothing is read: those frames are void.
    """
    # Only the ends are gathered: of all samples it would take longer than the FFT.
    right = lengths[:, tf.newaxis] + tf.range(n_pad)
    left = tf.broadcast_to(tf.range(-n_pad, 0), tf.shape(right))
    position = tf.concat([left, right], axis=1)
    last = lengths[:, tf.newaxis] - 1
    index = _mirrored(position, last, tf.maximum(2 * last, 1))
    mirrored = tf.gather(waveform, index, axis=1, batch_dims=1)
    row = tf.broadcast_to(tf.range(tf.size(lengths))[:, tf.newaxis], tf.shape(position))
    padded = tf.pad(waveform, [[0, 0], [n_pad, n_pad]])
    place = tf.stack([row, position + n_pad], axis=-1)
    return tf.tensor_scatter_nd_update(padded, place, mirrored)


def _mirrored(position: Any, last: Any, period: Any) -> Any:
    """Folds positions, of TensorFlow or NumPy, back into 0 ... last, over and over.

    period is 2 * last, but 1 where that is 0.
    """
    # ONNX's remainder of a negative number is another than TensorFlow's.
    return last - abs(abs(position) % period - last)


@functools.lru_cache
def _dft(config: AudioConfig) -> tuple[np.ndarray, np.ndarray]:
    """The transform of a window as matrices, real and imaginary."""
    length = config.window_length
    turns = np.outer(np.arange(length), np.arange(length // 2 + 1)) % length / length
    phase = 2 * np.pi * turns
    return np.cos(phase).astype(np.float32), np.sin(phase).astype(np.float32)


@functools.lru_cache
def _symmetric_hamming(length: int) -> np.ndarray:
    # SciPy's hamming called as a function is symmetric; tf.signal's default is not.
    phase = 2 * np.pi * np.arange(length) / (length - 1)
    return (0.54 - 0.46 * np.cos(phase)).astype(np.float32)


def mel_edges_hz(config: AudioConfig) -> np.ndarray:
    """Where mel bands begin, peak and end: band i at [i], [i + 1] and [i + 2] of it.

    Returns:
        float64 [n_mels + 2], in Hz.
    """
    limits = _hz_to_mel(np.array([config.fmin_hz, config.fmax_hz]))
    return _mel_to_hz(np.linspace(limits[0], limits[1], config.n_mels + 2))


@functools.lru_cache
def _mel_filters(config: AudioConfig) -> np.ndarray:
    """Slaney's triangular mel filters with unit area, float32 [bins, n_mels]."""
    edges = mel_edges_hz(config)
    bins = np.fft.rfftfreq(config.window_length, 1 / config.sample_rate)[:, np.newaxis]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (high - low)).astype(np.float32)


# Slaney's mel scale: linear below 1 kHz, 27 steps for each factor 6.4 above.
_LINEAR_HZ = 200.0 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    logarithmic = np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(
        hz < _BREAK_HZ, hz / _LINEAR_HZ, _BREAK_HZ / _LINEAR_HZ + logarithmic
    )


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    steps = mel - _BREAK_HZ / _LINEAR_HZ
    return np.where(steps < 0, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * steps))
