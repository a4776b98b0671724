"""Convolution of nine taps over time by minimal filtering: a third of the products.

Small matrices take the inputs that a tile of outputs sees, and the taps, to points; at
each point the two are multiplied, and another small matrix makes outputs of these.
"""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import tensorflow as tf

N_TAPS = 9


@dataclasses.dataclass(frozen=True)
class Form:
    """The small matrices of one way to filter.

    Attributes:
        of_inputs: [n_points, n_outputs + n_taps - 1], from the inputs that a tile sees.
        of_taps: [n_points, n_taps].
        to_outputs: [n_outputs, n_points].
    """

    of_inputs: np.ndarray
    of_taps: np.ndarray
    to_outputs: np.ndarray


def toom_cook(n_outputs: int, n_taps: int, points: Sequence[float]) -> Form:
    """F(n_outputs, n_taps): as many products as points, and one for infinity.

    Args:
        points: n_outputs + n_taps - 2 different numbers.

    Source: Winograd 1980 (Arithmetic Complexity of Computations); Lavin and Gray 2016
    (Fast Algorithms for Convolutional Neural Networks).
    """
    exact = [Fraction(point) for point in points]
    n_points = len(exact) + 1
    form = Form(
        np.zeros((n_points, n_points)),
        np.zeros((n_points, n_taps)),
        np.zeros((n_outputs, n_points)),
    )
    for row, point in enumerate(exact):
        others = exact[:row] + exact[row + 1 :]
        scale = math.prod((point - other for other in others), start=Fraction(1))
        form.of_inputs[row, :-1] = _polynomial(others)
        form.of_taps[row] = [point**power / scale for power in range(n_taps)]
        form.to_outputs[:, row] = [point**power for power in range(n_outputs)]
    form.of_inputs[-1] = _polynomial(exact)
    form.of_taps[-1, -1] = form.to_outputs[-1, -1] = 1
    return form


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, from the constant up, of the monic polynomial with these roots."""
    found = [Fraction(1)]
    for root in roots:
        raised, lowered = [Fraction(0), *found], [*found, Fraction(0)]
        found = [up - root * down for up, down in zip(raised, lowered, strict=True)]
    return found


def nested(inner: Form, outer: Form) -> Form:
    """A filter of n x n taps: groups of n, filtered by outer, of n taps, by inner.

    The tiles of inner must be n outputs long, so that neighbouring groups of taps see
    the inputs of neighbouring tiles, which are transformed once for all groups.
    """
    n_taps, (n_points, n_seen) = inner.of_taps.shape[1], inner.of_inputs.shape
    n_outer, n_tiles = outer.of_inputs.shape
    of_inputs = np.zeros((n_outer, n_points, n_taps * (n_tiles - 1) + n_seen))
    for tile in range(n_tiles):
        seen = slice(n_taps * tile, n_taps * tile + n_seen)
        of_inputs[:, :, seen] += np.multiply.outer(
            outer.of_inputs[:, tile], inner.of_inputs
        )
    return Form(
        of_inputs.reshape(n_outer * n_points, -1),
        np.kron(outer.of_taps, inner.of_taps),
        np.kron(outer.to_outputs, inner.to_outputs),
    )


# Stride 1: nine outputs of nine taps by 25 products a channel in place of 81. These
# points have the smallest errors of those that were tried.
_GROUP = toom_cook(3, 3, (0, 1, -1, 0.5))
NINE_TAPS = nested(_GROUP, _GROUP)
# Stride 2: on pairs of inputs, as channels, five taps of stride 1; four outputs of them
# by 2 x 8 products in place of 36.
FIVE_PAIRS = toom_cook(4, 5, (0, 1, -1, 2, -2, 0.5, -0.5))


def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d(inputs, kernel, 1, "SAME") for nine taps in a row.

    Up to 9e-6 of the largest output is error; of the direct form 2e-6 (docs/log.md).

    Args:
        inputs: float32 [B, 1, T, C].
        kernel: float32 [1, 9, C, D].

    Returns:
        float32 [B, 1, T, D].
    """
    n_steps = tf.shape(inputs)[2]
    margin = N_TAPS // 2
    return _filter(NINE_TAPS, inputs[:, 0], kernel[0], n_steps, margin)[:, tf.newaxis]


def convolve_by_two(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d(inputs, kernel, [1, 1, 2, 1], "VALID") for nine taps in a row.

    Up to 9e-6 of the largest output is error; of the direct form 2e-6 (docs/log.md).

    Args:
        inputs: float32 [B, 1, T, C] with T >= 9.
        kernel: float32 [1, 9, C, D].

    Returns:
        float32 [B, 1, (T - 9) // 2 + 1, D].
    """
    n_clips, _, n_steps, _ = tf.unstack(tf.shape(inputs))
    n_in, n_out = kernel.shape[-2:]
    even = tf.pad(inputs[:, 0], [[0, 0], [0, n_steps % 2], [0, 0]])
    pairs = tf.reshape(even, [n_clips, (n_steps + 1) // 2, 2 * n_in])
    taps = tf.pad(kernel[0], [[0, 1], [0, 0], [0, 0]])
    taps = tf.reshape(taps, [(N_TAPS + 1) // 2, 2 * n_in, n_out])
    n_outputs = (n_steps - N_TAPS) // 2 + 1
    return _filter(FIVE_PAIRS, pairs, taps, n_outputs)[:, tf.newaxis]


def _filter(
    form: Form,
    inputs: tf.Tensor,
    taps: tf.Tensor,
    n_outputs: tf.Tensor,
    margin: int = 0,
) -> tf.Tensor:
    """Filters [B, T, C] with taps [K, C, D] to [B, n_outputs, D].

    The first tap of the first output meets the input `margin` steps before the first.
    The gradient is written out: TensorFlow's own, with a sum of padded slices for each
    step of moving blocks, took two to three times as long.
    """
    n_points = len(form.of_taps)
    tile = len(form.to_outputs)
    n_blocks = -(-form.of_inputs.shape[1] // tile)
    unseen = n_blocks * tile - form.of_inputs.shape[1]
    of_inputs = np.float32(np.pad(form.of_inputs, [(0, 0), (0, unseen)]))
    of_taps, to_outputs = np.float32(form.of_taps), np.float32(form.to_outputs)

    @tf.custom_gradient
    def filtered(inputs, taps):
        n_clips, n_steps, _ = tf.unstack(tf.shape(inputs))
        n_in, n_out = taps.shape[1:]
        n_tiles = -(-n_outputs // tile)
        n_rows = n_clips * n_tiles
        seen = _to_blocks(inputs, tile, n_tiles, n_blocks, margin)
        points = tf.reshape(tf.matmul(of_inputs, seen), [n_points, n_rows, n_in])
        kernels = tf.matmul(of_taps, tf.reshape(taps, [-1, n_in * n_out]))
        kernels = tf.reshape(kernels, [n_points, n_in, n_out])
        products = tf.reshape(tf.matmul(points, kernels), [n_points, -1])
        outputs = tf.matmul(to_outputs, products)
        outputs = tf.reshape(outputs, [1, tile, n_clips, n_tiles, n_out])

        def gradient(towards):
            seen = _to_blocks(towards, tile, n_tiles)
            products = tf.matmul(to_outputs, seen, transpose_a=True)
            products = tf.reshape(products, [n_points, n_rows, n_out])
            to_kernels = tf.matmul(points, products, transpose_a=True)
            to_kernels = tf.reshape(to_kernels, [n_points, n_in * n_out])
            to_taps = tf.matmul(of_taps, to_kernels, transpose_a=True)
            to_points = tf.matmul(products, kernels, transpose_b=True)
            to_points = tf.reshape(to_points, [n_points, -1])
            blocks = tf.matmul(of_inputs, to_points, transpose_a=True)
            blocks = tf.reshape(blocks, [n_blocks, tile, n_clips, n_tiles, n_in])
            to_inputs = _to_steps(blocks)[:, margin : margin + n_steps]
            return to_inputs, tf.reshape(to_taps, taps.shape)

        return _to_steps(outputs)[:, :n_outputs], gradient

    return filtered(inputs, taps)


def _to_blocks(
    steps: tf.Tensor, tile: int, n_tiles: tf.Tensor, n_blocks: int = 1, before: int = 0
) -> tf.Tensor:
    """[B, T, C] to what each tile sees: [n_blocks * tile, B * n_tiles * C].

    A tile sees its own block of `tile` steps and those after it; zeros stand `before`
    the first step and behind the last.
    """
    n_clips, n_steps, n_channels = tf.unstack(tf.shape(steps))
    n_all = n_tiles + n_blocks - 1
    behind = tile * n_all - n_steps - before
    steps = tf.pad(steps, [[0, 0], [before, behind], [0, 0]])
    steps = tf.reshape(steps, [n_clips, n_all, tile, n_channels])
    steps = tf.transpose(steps, [2, 0, 1, 3])
    seen = [steps[:, :, block : block + n_tiles] for block in range(n_blocks)]
    return tf.reshape(tf.concat(seen, 0), [n_blocks * tile, -1])


def _to_steps(blocks: tf.Tensor) -> tf.Tensor:
    """The transpose of _to_blocks: [n_blocks, tile, B, n_tiles, C] to [B, T, C].

    Where tiles saw the same step it is their sum.
    """
    n_blocks, n_channels = blocks.shape[0], blocks.shape[-1]
    n_clips = tf.shape(blocks)[2]
    placed = [
        tf.pad(block, [[0, 0], [0, 0], [at, n_blocks - 1 - at], [0, 0]])
        for at, block in enumerate(tf.unstack(blocks))
    ]
    steps = tf.transpose(tf.add_n(placed), [1, 2, 0, 3])
    return tf.reshape(steps, [n_clips, -1, n_channels])
