"""Torch's tensors as pickles describe them, without torch.

In: the arguments a pickle gives to torch's own functions, and persistent ids. Out:
Placeholders that become arrays once the bytes of their storages are found.
"""

import math

import numpy as np

from avl_tf.errors import UserError
from avl_tf.torch_weights.budget import OBJECT, Budget
from avl_tf.torch_weights.byte_window import Window
from avl_tf.torch_weights.pickle_values import (
    Constructor,
    Placeholder,
    UnsafePickleError,
    describe,
)
from avl_tf.torch_weights.pickled_numpy import checked_shape, read_array

_STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}
STORAGE_TYPES = {
    f"{module}.{name}": dtype
    for module in ("torch", "torch.storage", "torch.cuda")
    for name, dtype in _STORAGE_DTYPES.items()
}
# The last three have no storage class of their own.
DTYPES = {*_STORAGE_DTYPES.values(), "uint16", "uint32", "uint64"}


class TorchDtype(Placeholder):
    """A dtype; as data of its own it becomes its name, "torch.float32".

    Attributes:
        stored, numpy: the dtype in the file, and of the array.
    """

    def __init__(self, name: str):
        self.name = name
        # NumPy has no bfloat16: its bytes are read as uint16, then widened.
        self.stored = np.dtype("uint16" if name == "bfloat16" else name)
        self.numpy = np.dtype("float32" if name == "bfloat16" else name)

    def value(self) -> str:
        """Returns the name, "torch.float32"."""
        return f"torch.{self.name}"


class Storage(Placeholder):
    """A flat stretch of numbers, of which tensors are views.

    Attributes:
        size: bytes.
        window: where the bytes are, to be set before value().
    """

    def __init__(self, dtype: TorchDtype, n_items: int, budget: Budget):
        self.dtype = dtype
        self.size = n_items * dtype.stored.itemsize
        self.window: Window | None = None
        self._budget = budget
        self._arrays: dict[str, np.ndarray] = {}

    def value(self) -> np.ndarray:
        """Reads the numbers [n_items]."""
        return self.as_dtype(self.dtype)

    def as_dtype(self, dtype: TorchDtype) -> np.ndarray:
        """Reads the numbers [n_items]; bfloat16 becomes float32."""
        if dtype.name not in self._arrays:
            if self.window is None:
                raise UserError("it is damaged: a tensor's numbers are not in it")
            n_items = self.size // dtype.stored.itemsize
            array = read_array(self.window, dtype.stored, n_items, self._budget)
            if dtype.name == "bfloat16":
                self._budget.spend(array.nbytes)
                wide = array.astype(np.uint32)
                wide <<= 16
                array = wide.view(np.float32)
            self._arrays[dtype.name] = array
        return self._arrays[dtype.name]


class Tensor(Placeholder):
    """A view of a storage: sizes and strides in items, from an offset on."""

    def __init__(
        self,
        storage: object,
        offset: object,
        size: object,
        stride: object,
        dtype: object,
        budget: Budget,
    ):
        if not isinstance(storage, Storage):
            raise UnsafePickleError(f"a tensor's storage is {describe(storage)}")
        if not isinstance(dtype, TorchDtype):
            raise UnsafePickleError(f"a tensor's dtype is {describe(dtype)}")
        self._storage = storage
        self._dtype = dtype
        (self._offset,) = checked_shape((offset,))
        self._size = checked_shape(size)
        self._stride = checked_shape(stride)
        if len(self._size) != len(self._stride):
            raise UserError("it is damaged: a tensor has not a stride for each size")
        budget.count(OBJECT)
        self._budget = budget

    def value(self) -> np.ndarray:
        """Returns the array in C order, a view of the storage's where it is so."""
        n_items = math.prod(self._size)
        if n_items == 0:
            return np.zeros(self._size, self._dtype.numpy)
        flat = self._storage.as_dtype(self._dtype)
        # The stride of an axis of one item means nothing, and may be anything.
        steps = [
            step if size > 1 else 0
            for size, step in zip(self._size, self._stride, strict=True)
        ]
        reach = sum((n - 1) * step for n, step in zip(self._size, steps, strict=True))
        if n_items > len(flat) or self._offset + reach >= len(flat):
            raise UserError(
                f"a tensor of shape {self._size} reaches beyond its {len(flat)} stored "
                "numbers: the file is damaged, or the tensor was expanded; save "
                "tensor.contiguous()"
            )
        if _is_c_ordered(self._size, steps):
            return flat[self._offset : self._offset + n_items].reshape(self._size)
        self._budget.spend(n_items * flat.itemsize)
        view = np.lib.stride_tricks.as_strided(
            flat[self._offset :], self._size, [step * flat.itemsize for step in steps]
        )
        return view.copy(order="C")


def _is_c_ordered(size, steps):
    expected = 1
    for n, step in zip(reversed(size), reversed(steps), strict=True):
        if n > 1 and step != expected:
            return False
        expected *= n
    return True


class StorageTable:
    """The storages of one torch file, by the keys of their persistent ids."""

    def __init__(self, budget: Budget):
        self.by_key: dict[str, Storage] = {}
        self._budget = budget

    def find(self, identity: object) -> Storage:
        """Returns the storage of a persistent id.

        Args:
            identity: ("storage", type, key, device, item count), in the older format
                with None (the storage is no view of another one) at the end.

        Raises:
            UnsafePickleError: it has another form.
        """
        if type(identity) is not tuple or len(identity) not in (5, 6):
            raise UnsafePickleError(f"a persistent id is {describe(identity)}")
        kind, storage_type, key, _, n_items, *view = identity
        if kind != "storage" or not isinstance(storage_type, Constructor):
            raise UnsafePickleError("a persistent id is not a tensor storage's")
        dtype = STORAGE_TYPES.get(storage_type.name)
        if dtype is None or type(key) is not str or view not in ([], [None]):
            raise UnsafePickleError(
                f"a tensor storage is {storage_type.name} with a key or view that is "
                "not known"
            )
        (n_items,) = checked_shape((n_items,))
        storage = Storage(TorchDtype(dtype), n_items, self._budget)
        if key not in self.by_key:
            self._budget.count(OBJECT)
        known = self.by_key.setdefault(key, storage)
        if (known.dtype.name, known.size) != (storage.dtype.name, storage.size):
            raise UserError(f"it is damaged: storage {key:.50} is declared in two ways")
        return known
