"""Writes files as torch.save and pickle.dump write tensors, without torch.

Python's own pickler does the work; torch's names are stand-ins that exist only while it
runs. For tests of avl_tf.torch_weights and of what reads its results.
"""

import collections
import dataclasses
import io
import pickle
import struct
import sys
import types
import unittest.mock
import zipfile

import numpy as np

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STORAGE_NAMES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex128": "ComplexDoubleStorage",
    "complex64": "ComplexFloatStorage",
}


class _Names:
    """Torch's names: each becomes an empty class of that module and name."""

    def __init__(self):
        self._classes = {}

    def __getitem__(self, full_name):
        if full_name not in self._classes:
            module, _, name = full_name.rpartition(".")
            self._classes[full_name] = type(name, (), {"__module__": module})
        return self._classes[full_name]

    def modules(self):
        modules = {"torch": types.ModuleType("torch")}
        for full_name, stand_in in self._classes.items():
            module, _, name = full_name.rpartition(".")
            modules.setdefault(module, types.ModuleType(module))
            setattr(modules[module], name, stand_in)
        return modules


_NAMES = _Names()
_LOAD_FROM_BYTES = _NAMES["torch.storage._load_from_bytes"]
_REBUILD = _NAMES["torch._utils._rebuild_tensor_v2"]
_REBUILD_V3 = _NAMES["torch._utils._rebuild_tensor_v3"]
_REBUILD_PARAMETER = _NAMES["torch._utils._rebuild_parameter"]
_SIZE = _NAMES["torch.Size"]
for _name in [*STORAGE_NAMES.values(), "BFloat16Storage"]:
    _NAMES[f"torch.{_name}"]
for _name in ("uint16", "uint32", "uint64", "bfloat16"):
    _NAMES[f"torch.{_name}"]
_NAMES["torch.storage.UntypedStorage"]


class Storage:
    """A flat array of numbers; type_name is torch's class, by default the dtype's."""

    def __init__(self, items, type_name=None):
        self.items = np.ascontiguousarray(items).reshape(-1)
        name = type_name or f"torch.{STORAGE_NAMES[self.items.dtype.name]}"
        self.type = _NAMES[name]

    def __reduce__(self):
        # A plain pickle holds each storage as a whole legacy file of its own.
        return _LOAD_FROM_BYTES, (legacy_bytes(self),)


@dataclasses.dataclass
class Tensor:
    """A view of a storage, sizes and strides in items."""

    storage: Storage
    size: tuple
    stride: tuple
    offset: int = 0
    dtype_name: str | None = None  # as torch writes dtypes without a storage class

    def __reduce__(self):
        arguments = (self.storage, self.offset, self.size, self.stride, False)
        hooks = collections.OrderedDict()
        if self.dtype_name is None:
            return _REBUILD, (*arguments, hooks)
        return _REBUILD_V3, (*arguments, hooks, _NAMES[f"torch.{self.dtype_name}"])


class Parameter(Tensor):
    """As torch.nn.Parameter."""

    def __reduce__(self):
        tensor = Tensor(self.storage, self.size, self.stride, self.offset)
        return _REBUILD_PARAMETER, (tensor, True, collections.OrderedDict())


class Size(tuple):
    """As torch.Size."""

    def __reduce__(self):
        return _SIZE, (tuple(self),)


def tensor(array, kind=Tensor):
    """Makes a tensor, or a Parameter, of an array, keeping its strides."""
    array = np.asarray(array)
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    storage = Storage(array.transpose(order))
    return kind(storage, array.shape, tuple(s // array.itemsize for s in array.strides))


def state(arrays):
    """Makes a state_dict as torch saves it: an OrderedDict with _metadata."""
    result = collections.OrderedDict((key, tensor(a)) for key, a in arrays.items())
    result._metadata = collections.OrderedDict([("", {"version": 1})])
    return result


class _Pickler(pickle.Pickler):
    def __init__(self, file, protocol, storages=None, id_tail=()):
        super().__init__(file, protocol)
        self.storages = storages
        self.id_tail = id_tail

    def persistent_id(self, value):
        if not isinstance(value, Storage) or self.storages is None:
            return None
        key = self.storages.setdefault(id(value), (str(len(self.storages)), value))[0]
        return ("storage", value.type, key, "cpu", len(value.items), *self.id_tail)


def _dump(value, protocol, storages=None, id_tail=()):
    file = io.BytesIO()
    with unittest.mock.patch.dict(sys.modules, _NAMES.modules()):
        _Pickler(file, protocol, storages, id_tail).dump(value)
    return file.getvalue()


def legacy_bytes(value, protocol=2, little_endian=True):
    """Returns what torch.save wrote before torch 1.6."""
    storages = {}
    machine = {"protocol_version": 1001, "little_endian": little_endian}
    data = _dump(value, protocol, storages, id_tail=(None,))
    keys = [key for key, _ in storages.values()]
    parts = [LEGACY_MAGIC, 1001, machine]
    content = b"".join(pickle.dumps(part, protocol) for part in parts)
    content += data + pickle.dumps(keys, protocol)
    for _, storage in storages.values():
        content += struct.pack("<q", len(storage.items)) + storage.items.tobytes()
    return content


def zip_bytes(value, prefix="archive", byteorder=b"little", compression=0):
    """Returns what torch.save writes since torch 1.6."""
    storages = {}
    data = _dump(value, 2, storages)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{prefix}/data.pkl", data)
        if byteorder is not None:
            archive.writestr(f"{prefix}/byteorder", byteorder)
        for key, storage in storages.values():
            archive.writestr(f"{prefix}/data/{key}", storage.items.tobytes())
        archive.writestr(f"{prefix}/version", b"3\n")
    return file.getvalue()


def pickle_bytes(value, protocol=4):
    """Returns a plain pickle, as the authors' datasets are."""
    return _dump(value, protocol)
