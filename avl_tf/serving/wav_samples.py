"""Samples of WAV files in TF ops: bytes of a known format in, one waveform out.

Source: Microsoft and IBM, Multimedia Programming Interface and Data Specifications
    1.0; ITU-T G.711 (a-law, mu-law).
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from avl_tf.media.levels import CANCELLED

# A peak within these is left as it is.
_QUIETEST, _LOUDEST = 2.0**-5, 2.0


def limited(waveform: tf.Tensor) -> tf.Tensor:
    """Scales waveforms [..., S] with a peak of 2 or more by a power of two, below 2.

    Unscaled, the power of large ones would overflow.
    """
    peak = tf.reduce_max(tf.abs(waveform), axis=-1, keepdims=True)
    return waveform / tf.where(peak >= _LOUDEST, _power_of_two_above(peak), 1.0)


def mixed(channels: tf.Tensor) -> tf.Tensor:
    """Averages channels [S, C]; of channels that cancel each other, the loudest."""
    mean = tf.reduce_mean(channels, axis=1)
    energies = tf.math.reduce_variance(channels, axis=0)
    n_channels = tf.cast(tf.shape(channels)[1], tf.float32)
    unrelated = tf.reduce_mean(energies) / n_channels
    cancelled = tf.math.reduce_variance(mean) < CANCELLED * unrelated
    return tf.cond(
        cancelled,
        lambda: tf.gather(channels, tf.argmax(energies), axis=1),
        lambda: mean,
    )


def _integers(dtype: tf.DType, zero: int = 0) -> Callable:
    def read(data):
        steps = tf.cast(tf.io.decode_raw(data, dtype), tf.float32) - float(zero)
        return steps / float(2 ** (8 * dtype.size - 1))

    return read


def _finely(read: Callable) -> Callable:
    """Scales what only a format finer than 16 bits may hold; see decode."""

    def read_scaled(data):
        samples = read(data)
        peak = tf.reduce_max(tf.abs(samples))
        usual = (peak >= _QUIETEST) & (peak < _LOUDEST)
        return samples / tf.where(usual, 1.0, _power_of_two_above(peak))

    return read_scaled


def _power_of_two_above(peak: tf.Tensor) -> tf.Tensor:
    """The power of two in (peak, 2 peak], to the bit; of infinity it is infinite."""
    exponent = tf.bitwise.bitwise_and(tf.bitcast(peak, tf.int32), 0x7F800000)
    # Of what is too small or too large for that, the nearest that is a normal number.
    power = tf.maximum(tf.bitcast(exponent, tf.float32), 2.0**-126)
    return tf.where(power < 2.0**127, 2.0 * power, power)


def _three_bytes(data: tf.Tensor) -> tf.Tensor:
    parts = tf.reshape(tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32), [-1, 3])
    low, middle, high = tf.unstack(parts, axis=1)
    steps = 65536 * high + 256 * middle + low
    return tf.cast(steps - 2**24 * (high // 128), tf.float32) / 2.0**23


def _from_table(table: np.ndarray) -> Callable:
    def read(data):
        codes = tf.cast(tf.io.decode_raw(data, tf.uint8), tf.int32)
        return tf.gather(table, codes)

    return read


def _a_law() -> np.ndarray:
    code = np.arange(256) ^ 0x55
    segment, step = (code >> 4) & 7, ((code & 15) << 4) + 8
    size = np.where(segment == 0, step, (step + 256) << np.maximum(segment - 1, 0))
    return (np.where(code & 128, size, -size) / 32768).astype(np.float32)


def _mu_law() -> np.ndarray:
    code = ~np.arange(256)
    size = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132
    return (np.where(code & 128, -size, size) / 32768).astype(np.float32)


def _floats(dtype: tf.DType) -> Callable:
    return lambda data: tf.cast(tf.io.decode_raw(data, dtype), tf.float32)


# Format tag, bytes a sample, bytes -> float32 [C S].
FORMATS: tuple[tuple[int, int, Callable], ...] = (
    (1, 2, _integers(tf.int16)),
    (1, 1, _integers(tf.uint8, zero=128)),
    (1, 3, _finely(_three_bytes)),
    (1, 4, _finely(_integers(tf.int32))),
    (3, 4, _finely(_floats(tf.float32))),
    (3, 8, _finely(_floats(tf.float64))),
    (6, 1, _from_table(_a_law())),
    (7, 1, _from_table(_mu_law())),
)
