"""How a record's arrays lie in bytes: float16, or 8 bits with a range of their own.

Of 8 bits, level n stands for low + n * scale. Both are chosen for each array, so that
its 256 levels reach from end to end. The level 0 of a log-mel is its loudest end, 0 dB:
bytes that are padded with zeros are padded as the authors pad.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from avl_tf.errors import UserError

_LAST_LEVEL = 255


def pack(array: np.ndarray, storage: str) -> tuple[memoryview, tuple[float, ...]]:
    """Packs an array [K, D] of finite numbers.

    Returns:
        Its bytes, of "float16" without a copy if it is that; and for "int8"
        (scale, low), otherwise ().
    """
    if storage == "float16":
        return _bytes_of(array, np.float16), ()
    low, high = (float(end) for end in (array.min(), array.max()))
    return _levels(array, (high - low) / _LAST_LEVEL, low)


def pack_log_mel(
    log_mel: np.ndarray, storage: str
) -> tuple[memoryview, tuple[float, ...]]:
    """Packs a log-mel [T, F] in dB, which is as pack does but for what level 0 is.

    Raises:
        ValueError: a level above 0 dB, where "int8" has no place.
    """
    if storage == "float16":
        return pack(log_mel, storage)
    if log_mel.max() > 0:
        raise UserError(
            f"reaches {log_mel.max():.1f} dB; --storage=int8 holds levels of 0 dB and "
            "below. Use --storage=float16."
        )
    return _levels(log_mel, float(log_mel.min()) / _LAST_LEVEL, 0.0)


def _levels(array, scale, low):
    levels = np.round((np.asarray(array, np.float32) - low) / (scale or 1.0))
    return _bytes_of(levels, np.uint8), (scale, low)


def _bytes_of(array: np.ndarray, dtype: npt.DTypeLike) -> memoryview:
    return np.ascontiguousarray(array, dtype).data.cast("B")


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array [K, D] of a record inside tf.data, decoded only where it is asked for.

    Attributes:
        packed: string scalar, what pack returned.
        levels: float32 [2], scale and low; None for float16.
        width: D.
    """

    packed: tf.Tensor
    levels: tf.Tensor | None
    width: int

    @property
    def n_steps(self) -> tf.Tensor:
        """int32 scalar, K."""
        return tf.strings.length(self.packed) // self._step_bytes

    @property
    def is_whole(self) -> tf.Tensor:
        """bool scalar: whether there are K > 0 steps and nothing else."""
        n_bytes = tf.strings.length(self.packed)
        return tf.logical_and(n_bytes > 0, n_bytes % self._step_bytes == 0)

    @property
    def is_finite(self) -> tf.Tensor:
        """bool scalar: whether there is no NaN and no infinity in it."""
        values = self.levels
        if values is None:
            values = tf.bitcast(self._numbers, tf.float16)
        return tf.reduce_all(tf.math.is_finite(values))

    def all(self) -> tf.Tensor:
        """float16 [K, D]."""
        return self.windows(tf.zeros([1], tf.int32), self.n_steps[tf.newaxis])[0]

    def windows(
        self, first: tf.Tensor, n_steps: tf.Tensor, width: int | None = None
    ) -> tf.Tensor:
        """Cuts spans of steps and pads them with zero bytes.

        Args:
            first, n_steps: int32 [M], spans inside the array.
            width: steps a window, at least as many as in any span; for None, n_steps
                are all the same.

        Returns:
            float16 [M, width, D].
        """
        spans = tf.strings.substr(
            self.packed, first * self._step_bytes, n_steps * self._step_bytes
        )
        if width is None:
            width = tf.reduce_max(n_steps)
        # It cannot pad float16 itself.
        values = tf.io.decode_raw(
            spans,
            tf.int16 if self.levels is None else tf.uint8,
            fixed_length=width * self._step_bytes,
        )
        values = tf.reshape(values, [-1, width, self.width])
        if self.levels is None:
            return tf.bitcast(values, tf.float16)
        return tf.cast(self._value(tf.cast(values, tf.float32)), tf.float16)

    def maxima(self, steps: tf.Tensor) -> tf.Tensor:
        """Pools steps (int32 [M, N], inside the array) over time: float32 [M, D]."""
        table = tf.reshape(self._numbers, [-1, self.width])
        chosen = tf.gather(table, tf.transpose(steps))
        highest = _pool(tf.maximum, chosen)
        if self.levels is not None:
            return self._value(tf.cast(highest, tf.float32))
        # float16 numbers are ordered as their bytes are when read as integers, those
        # below zero the other way round. Their own maximum is ten times as slow.
        all_negative = highest < 0
        highest = tf.cond(
            tf.reduce_any(all_negative),
            lambda: tf.where(all_negative, _pool(tf.minimum, chosen), highest),
            lambda: highest,
        )
        return tf.cast(tf.bitcast(highest, tf.float16), tf.float32)

    @functools.cached_property
    def _numbers(self) -> tf.Tensor:
        """As stored: levels, or float16 read as int16."""
        dtype = tf.int16 if self.levels is None else tf.uint8
        return tf.io.decode_raw(self.packed, dtype)

    @property
    def _step_bytes(self) -> int:
        return self.width * (2 if self.levels is None else 1)

    def _value(self, level):
        scale, low = tf.unstack(self.levels, num=2)
        return level * scale + low


def _pool(larger, chosen: tf.Tensor) -> tf.Tensor:
    """The largest of chosen [N, M, D] over N, as `larger` of two tells: [M, D]."""

    def halve(left: tf.Tensor) -> tuple[tf.Tensor]:
        half = (tf.shape(left)[0] + 1) // 2
        return (larger(left[:half], left[-half:]),)

    # TensorFlow's reduction of integers over an outer axis is 20 times as slow.
    (last,) = tf.while_loop(
        lambda left: tf.shape(left)[0] > 1,
        halve,
        (chosen,),
        shape_invariants=(tf.TensorShape([None, *chosen.shape[1:]]),),
    )
    return last[0]
