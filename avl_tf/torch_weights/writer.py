"""Writes a state_dict as torch.save does (zip format), without torch."""

import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from avl_tf.errors import UserError
from avl_tf.whole_files import replacing

_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}


def write_state_dict(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a .pth that torch.load reads, whole or not at all.

    With weights_only too.

    Args:
        path: where to.
        state: key -> float32 or int64 array, 0-d ones too.

    Raises:
        ValueError: an array has another dtype.
    """
    arrays = {key: np.asarray(array, order="C") for key, array in state.items()}
    for key, array in arrays.items():
        if array.dtype.name not in _STORAGES:
            raise UserError(
                f"{key}: {array.dtype} arrays are not written, only float32."
            )
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr("archive/data.pkl", _pickle(arrays))
        archive.writestr("archive/byteorder", "little")
        for index, array in enumerate(arrays.values()):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            archive.writestr(f"archive/data/{index}", little.tobytes())
        archive.writestr("archive/version", "3\n")


def _pickle(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of an OrderedDict of tensors, opcode by opcode.

    Python's pickler can only write names that can be imported, and torch cannot here.
    """
    ordered_dict = _name("collections", "OrderedDict") + b")R"
    items = []
    for index, (key, array) in enumerate(arrays.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        storage = (
            b"("
            + _text("storage")
            + _name("torch", _STORAGES[array.dtype.name])
            + _text(str(index))
            + _text("cpu")
            + _integer(array.size)
            + b"tQ"
        )
        items.append(
            _text(key)
            + _name("torch._utils", "_rebuild_tensor_v2")
            + b"("
            + storage
            + _integer(0)
            + _integers(array.shape)
            + _integers(strides)
            + b"\x89"  # requires no gradient
            + ordered_dict  # no hooks
            + b"tR"
        )
    return b"\x80\x02" + ordered_dict + b"(" + b"".join(items) + b"u."


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _integers(values) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
