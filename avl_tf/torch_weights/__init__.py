"""Reads .pth checkpoints and .pkl datasets of torch tensors without torch.

In: a file as torch.save wrote it (the format before torch 1.6 or the zip format since),
or a pickle with torch tensors and NumPy arrays in it. Out: dictionaries, lists, tuples,
NumPy arrays, numbers and text, whatever the file holds: what it names is never run. It
gets memory for at most 4 times its size in arrays, and 16 times (or 32 MB) in all else,
in a time that grows with its size; tests/test_pickle_budget.py holds files against it
that try for more. An ordinary file of arrays takes its size once.

Source: torch/serialization.py and torch/storage.py for the formats.
"""

import io
import os
import zipfile
from struct import Struct
from typing import Any

import numpy as np

from avl_tf.errors import UserError
from avl_tf.torch_weights.budget import Budget
from avl_tf.torch_weights.byte_window import Window
from avl_tf.torch_weights.pickle_names import allowed_names
from avl_tf.torch_weights.pickle_values import UnsafePickleError, resolve
from avl_tf.torch_weights.pickled_torch import Storage, StorageTable
from avl_tf.torch_weights.safe_pickle import load

__all__ = ["TorchFileError", "UnsafePickleError", "read_torch_file", "state_dict"]

_ZIP_START = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ITEM_COUNT = Struct("<q")
_BIG_ENDIAN = "it is from a big-endian machine; save it again on a little-endian one"
_WRAPPERS = ("state_dict", "net", "model")


class TorchFileError(UserError):
    """A file is damaged, or in a form that is not read here."""


def read_torch_file(path: str | os.PathLike) -> object:
    """Reads a .pth or .pkl file.

    Args:
        path: a local file: torch.save's, or a pickle of protocol 0-5.

    Returns:
        What was saved, of dict, list, tuple, np.ndarray, bool, int, float, complex,
        str, bytes and None only. Tensors and parameters become arrays in C order;
        tensors that share a storage share memory here too. bfloat16 becomes float32, a
        NumPy scalar a number, an OrderedDict, defaultdict or Namespace a dict, a dtype
        or device text.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafePickleError: the file asks for something else; says for what. Nothing of
            it was run.
        TorchFileError: it is damaged, asks for more memory than its size explains, was
            written on a big-endian machine, or is no such file.
    """
    with open(path, "rb") as file:
        try:
            return _read(file)
        except UnsafePickleError as error:
            raise UnsafePickleError(f"{os.fspath(path)}: {error}.") from error
        except Exception as error:
            # A damaged archive alone makes zipfile raise errors of seven types.
            ours = isinstance(error, UserError)
            reason = (
                error if ours else f"it is damaged: {type(error).__name__}: {error}"
            )
            raise TorchFileError(f"{os.fspath(path)}: {reason!s:.500}.") from error


def state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the weights of one model.

    Args:
        path: a .pth file that holds them, by themselves or under "state_dict", "net" or
            "model".

    Returns:
        Key -> array, without the "module." that DataParallel puts before every key.

    Raises:
        FileNotFoundError, UnsafePickleError, TorchFileError: as read_torch_file.
        ValueError: the file holds something else; says what.
    """
    weights: Any = read_torch_file(path)
    if isinstance(weights, dict):
        inner = (
            weights[key] for key in _WRAPPERS if isinstance(weights.get(key), dict)
        )
        weights = next(inner, weights)
    problem = _not_weights(weights)
    if problem:
        raise UserError(
            f"{os.fspath(path)}: expected a model's state_dict (name -> tensor), alone "
            f'or under "state_dict", "net" or "model"; got {problem}.'
        )
    if all(key.startswith("module.") for key in weights):
        return {key.removeprefix("module."): array for key, array in weights.items()}
    return weights


def _not_weights(value):
    """Says what value is if it is no dictionary of arrays, else nothing."""
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    if not value:
        return "an empty dictionary"
    for key, array in value.items():
        if not isinstance(key, str) or not isinstance(array, np.ndarray):
            return f"a dictionary where {key!r:.80} is a {type(array).__name__}"
    return None


def _read(file: io.BufferedReader) -> object:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise UserError("it is empty")
    budget = Budget(size)
    names = allowed_names(budget, _storage_loader(budget))
    window = Window(file, 0, size)
    if window.read(min(size, len(_ZIP_START))) == _ZIP_START:
        with zipfile.ZipFile(file) as archive:
            return resolve(_read_zip(archive, names, budget), budget)
    window = window.restarted()
    value = load(window, names, budget)
    if _is_magic(value):
        value = _read_legacy(window, names, budget)
    if window.remaining:
        raise UserError(f"{window.remaining} bytes follow its data; was it joined?")
    return resolve(value, budget)


def _read_zip(archive, names, budget):
    """Reads PREFIX/data.pkl and ties its storages to PREFIX/data/KEY."""
    entries = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise UserError(
            f"it is a zip archive with {len(pickles)} data.pkl; torch.save writes one"
        )
    prefix = pickles[0].removesuffix("/data.pkl")

    def entry(name):
        info = entries.get(f"{prefix}/{name}")
        if info is None:
            raise UserError(f"it is damaged: its zip archive lacks {name:.50}")
        # Torch compresses nothing; a small entry that becomes large is an attack.
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UserError(f"{name:.50} in its zip archive is compressed or encrypted")
        return Window(archive.open(info), 0, info.file_size)

    def contents(name):
        window = entry(name)
        budget.spend(len(window))
        return window.read(len(window))

    if f"{prefix}/byteorder" in entries and contents("byteorder") != b"little":
        raise UserError(_BIG_ENDIAN)
    storages = StorageTable(budget)
    value = load(Window.of_bytes(contents("data.pkl")), names, budget, storages.find)
    for key, storage in storages.by_key.items():
        if storage.size:
            storage.window = entry(f"data/{key}")
    return value


def _is_magic(value):
    return type(value) is int and value == _LEGACY_MAGIC


def _read_legacy(window, names, budget):
    """Reads what follows the magic number in the format before torch 1.6.

    Five pickles (magic number, version, machine, data, keys of the storages), then for
    each key the item count (int64) and the items.
    """
    if load(window, {}, budget) != _LEGACY_PROTOCOL:
        raise UserError(f"its torch protocol is not {_LEGACY_PROTOCOL}")
    machine = load(window, {}, budget)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UserError(_BIG_ENDIAN)
    storages = StorageTable(budget)
    value = load(window, names, budget, storages.find)
    keys = load(window, {}, budget)
    if not isinstance(keys, list):
        raise UserError("it is damaged: it has no list of storages")
    for key in keys:
        storage = storages.by_key.get(key) if isinstance(key, str) else None
        if storage is None or storage.window is not None:
            raise UserError("it is damaged: it lists an unknown storage, or one twice")
        (n_items,) = _ITEM_COUNT.unpack(window.read(_ITEM_COUNT.size))
        if n_items * storage.dtype.stored.itemsize != storage.size:
            raise UserError(f"it is damaged: storage {key:.50} has {n_items} items")
        storage.window = window.cut(storage.size)
    return value


def _storage_loader(budget):
    """Makes the reader of a storage in a byte string, as plain pickles hold tensors."""
    names = allowed_names(budget, load_from_bytes=None)
    known = {}

    def load_from_bytes(data):
        # The string is kept too, or another one could get its id meanwhile.
        if id(data) not in known:
            known[id(data)] = data, _read_storage(data)
        return known[id(data)][1]

    def _read_storage(data):
        if isinstance(data, bytes):
            data = Window.of_bytes(data)
        if not isinstance(data, Window):
            raise UnsafePickleError("a tensor's data is not a byte string")
        window = data.restarted()
        if not _is_magic(load(window, {}, budget)):
            raise UserError("it is damaged: a tensor's data is in no torch format")
        storage = _read_legacy(window, names, budget)
        if not isinstance(storage, Storage) or window.remaining:
            raise UnsafePickleError("a tensor's data is more than one storage")
        return storage

    return load_from_bytes
