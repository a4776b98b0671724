"""Products of embeddings in single precision, on all cores, with an error bound.

TensorFlow's product is taken in a process that has it, as those that embed have: on
new processors it is up to twice as fast as that of NumPy's OpenBLAS, which takes them
for older ones (docs/performance.md). Both keep the bound.
"""

import sys
from collections.abc import Callable

import numpy as np

# Products of so many numbers are summed, then these sums: fewer roundings than D.
_DEPTH = 512

Product = Callable[[np.ndarray], np.ndarray]


def n_roundings(dim: int) -> int:
    """How many times at most a term of a similarity is rounded.

    Once multiplied, then added to the others of its part, then to the other parts.
    """
    return min(dim, _DEPTH) + len(_parts(dim)) - 1


def by_rows(rows: np.ndarray, with_tensorflow: bool) -> Product:
    """Prepares rows for products by others.

    Args:
        rows: float32 [R, D].
        with_tensorflow: whether by TensorFlow, else by NumPy.

    Returns:
        A function from float32 [C, D] to the similarities, float32 [R, C], whose terms
        are rounded n_roundings(D) times at most, in an order that is not said.
    """
    if with_tensorflow:
        return _with_tensorflow(rows)
    return lambda columns: _with_numpy(rows, columns)


def has_tensorflow() -> bool:
    """Whether TensorFlow is there and multiplies in whole single precision.

    oneDNN can be told to round to fewer bits (ONEDNN_DEFAULT_FPMATH_MODE).
    """
    tf = sys.modules.get("tensorflow")
    if tf is None or not tf.executing_eagerly():
        return False
    # Every sum is exact in single precision; fewer bits round the numbers to 1.
    numbers = np.full((_DEPTH, _DEPTH), 1 + 2.0**-12, np.float32)
    sums = _with_tensorflow(numbers)(np.ones_like(numbers))
    return bool((sums == _DEPTH * numbers[0, 0]).all())


def _parts(dim: int) -> list[slice]:
    return [slice(start, start + _DEPTH) for start in range(0, max(dim, 1), _DEPTH)]


def _with_numpy(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    first, *others = _parts(rows.shape[1])
    similarity = rows[:, first] @ columns[:, first].T
    for part in others:
        similarity += rows[:, part] @ columns[:, part].T
    return similarity


def _with_tensorflow(rows: np.ndarray) -> Product:
    tf = sys.modules["tensorflow"]
    parts = _parts(rows.shape[1])

    def product(columns: np.ndarray) -> np.ndarray:
        with tf.device("CPU:0"):
            products = [
                tf.matmul(of_rows, tf.constant(columns[:, part]), transpose_b=True)
                for of_rows, part in zip(prepared, parts, strict=True)
            ]
            return tf.add_n(products).numpy()

    with tf.device("CPU:0"):  # A GPU may round to fewer bits.
        prepared = [tf.constant(rows[:, part]) for part in parts]
    return product
