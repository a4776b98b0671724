"""NumPy's arrays, scalars and dtypes as pickles of NumPy 1 and 2 describe them.

In: the arguments a pickle gives to NumPy's own constructors. Out: arrays of numbers,
booleans or text that own their memory, in native byte order and C order. Nothing of
NumPy's unpickling runs. An array of objects is refused: its elements could be anything.
"""

import math
import re
from collections.abc import Callable

import numpy as np

from avl_tf.errors import UserError
from avl_tf.torch_weights.budget import NUMBER, OBJECT, Budget
from avl_tf.torch_weights.byte_window import Window
from avl_tf.torch_weights.pickle_values import (
    Constructor,
    Placeholder,
    UnsafePickleError,
    describe,
)

_MAX_RANK = 32
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,6})")


def read_array(
    data: Window | bytes | str, dtype: np.dtype, n_items: int, budget: Budget
) -> np.ndarray:
    """Copies data out of the file into an array [n_items] of the native byte order.

    Args:
        data: exactly the array's bytes; text is Python 2's bytes as Latin-1.

    Raises:
        ValueError: the data has another length.
    """
    if isinstance(data, str):
        data = data.encode("latin-1")
    if isinstance(data, bytes):
        data = Window.of_bytes(data)
    if not isinstance(data, Window):
        raise UnsafePickleError(f"an array's data is {describe(data)}")
    if len(data) != n_items * dtype.itemsize:
        raise UserError(
            f"it is damaged: an array of {n_items} x {dtype} has {len(data)} bytes"
        )
    budget.spend(len(data))
    array = np.empty(len(data), np.uint8)
    data.read_into(array.data)
    if dtype == np.bool_:
        return array != 0  # a bool of any other byte than 0 and 1 breaks NumPy
    array = array.view(dtype)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def checked_shape(shape: object) -> tuple[int, ...]:
    """Returns shape if it is a tuple of sizes.

    Raises:
        ValueError: it is not, or there are too many.
    """
    if (
        type(shape) is not tuple
        or len(shape) > _MAX_RANK
        # Wider ones take long to multiply.
        or not all(type(size) is int and 0 <= size < 1 << 256 for size in shape)
    ):
        raise UserError("it is damaged: a shape is not a tuple of sizes")
    return shape


class NumpyDtype(Placeholder):
    """A dtype: its name first, its byte order with the state."""

    def __init__(self, name: object, align: object = False, copy: object = False):
        if type(name) is not str or not _DTYPE.fullmatch(name):
            what = name if type(name) is str else describe(name)
            raise UnsafePickleError(
                f"it holds the NumPy dtype {what:.50}; numbers, booleans and text of "
                "fixed width are read. Save arrays of objects as lists"
            )
        self.dtype = np.dtype(name)

    def set_state(self, state: object) -> None:
        """Takes the byte order; anything else must fit the name."""
        # (version, order, subarray, names, fields, item size, alignment, flags)
        if type(state) is not tuple or len(state) != 8 or state[0] != 3:
            raise UnsafePickleError(f"a NumPy dtype's state is {describe(state)}")
        order, layout, item_size = state[1], state[2:5], state[5]
        if not all(part is None for part in layout):
            raise UnsafePickleError("it holds a structured NumPy dtype")
        if order not in ("<", ">", "|", "=") or item_size not in (
            -1,
            self.dtype.itemsize,
        ):
            raise UnsafePickleError(
                f"the state does not fit the NumPy dtype {self.dtype}"
            )
        ordered = self.dtype.newbyteorder(order)
        if ordered != self.dtype:  # else it would print as '<f4', not as 'float32'
            self.dtype = ordered

    def value(self) -> str:
        """Returns the name, "float32"."""
        return self.dtype.name


class NumpyArray(Placeholder):
    """An array whose shape, dtype and data may come later, with its state."""

    def __init__(self, budget: Budget):
        budget.count(OBJECT)
        self._budget = budget
        self._contents: tuple | None = None

    def fill(
        self,
        data: object,
        dtype: object,
        shape: object,
        order: object,
        axes: object = None,
    ) -> None:
        """Takes what the array is made of.

        Args:
            order: "C" or "F"; "K" (NumPy from 2.2 on): C order, then transposed.
            axes: for "K", the permutation.
        """
        if not isinstance(dtype, NumpyDtype):
            raise UnsafePickleError(f"an array's dtype is {describe(dtype)}")
        shape = checked_shape(shape)
        if order == "K" and axes is not None:
            axes = checked_shape(axes)
        elif order in ("C", "F"):
            axes = tuple(range(len(shape)))
        else:
            raise UserError("it is damaged: an array is in no known order")
        self._contents = data, dtype.dtype, shape, "F" if order == "F" else "C", axes

    def set_state(self, state: object) -> None:
        """Takes what fill takes, as NumPy pickles an array."""
        if type(state) is not tuple or len(state) != 5:
            raise UnsafePickleError(f"a NumPy array's state is {describe(state)}")
        _, shape, dtype, is_fortran, data = state
        self.fill(data, dtype, shape, "F" if is_fortran else "C")

    def value(self) -> np.ndarray:
        """Returns the array, in C order."""
        if self._contents is None:
            raise UserError("it is damaged: an array has no data")
        data, dtype, shape, order, axes = self._contents
        array = read_array(data, dtype, math.prod(shape), self._budget)
        array = array.reshape(shape, order=order).transpose(axes)
        if array.flags.c_contiguous:
            return array
        self._budget.spend(array.nbytes)
        return array.copy(order="C")


def numpy_names(budget: Budget) -> dict[str, object]:
    """Returns what NumPy's names in a pickle stand for, for safe_pickle.load."""
    ndarray = Constructor("numpy.ndarray")

    def reconstruct(subtype, shape, typecode):
        if subtype is not ndarray:
            raise UnsafePickleError(f"it makes a NumPy array of {describe(subtype)}")
        return NumpyArray(budget)

    def from_buffer(*contents):
        array = NumpyArray(budget)
        array.fill(*contents)
        return array

    def scalar(dtype, data):
        if not isinstance(dtype, NumpyDtype):
            raise UnsafePickleError(f"a NumPy scalar's dtype is {describe(dtype)}")
        budget.count(NUMBER)
        return read_array(data, dtype.dtype, 1, budget).item()

    def numpy_dtype(*arguments):
        budget.count(OBJECT)
        return NumpyDtype(*arguments)

    builds: dict[str, Callable] = {"numpy.dtype": numpy_dtype}
    for core in ("numpy.core", "numpy._core"):
        builds[f"{core}.multiarray._reconstruct"] = reconstruct
        builds[f"{core}.multiarray.scalar"] = scalar
        builds[f"{core}.numeric._frombuffer"] = from_buffer
    constructors = {name: Constructor(name, build) for name, build in builds.items()}
    return {"numpy.ndarray": ndarray, **constructors}
