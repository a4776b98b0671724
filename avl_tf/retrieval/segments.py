"""Vectors of an index on disk: immutable float16 .npy files, memory-mapped.

A file is written under another name, brought to the disk and renamed before the
database that lists it is changed. What the database does not list is of a process that
was killed, and goes when the next one writes.
"""

import os
import re
from collections.abc import Collection, Iterable

import numpy as np

from avl_tf import whole_files
from avl_tf.errors import UserError
from avl_tf.manifest.media_files import sha256

KINDS = ("visual", "audio", "steps")
_NAME = re.compile(rf"(\d{{6,}})-({'|'.join(KINDS)})\.npy")


def path(folder: str, number: int, kind: str) -> str:
    """The path of one file of a segment; folder is the index directory."""
    return os.path.join(folder, "segments", f"{number:06d}-{kind}.npy")


def _write_array(path: str, array: np.ndarray) -> None:
    """As numpy.save, which does not say of a full disk that it is full."""
    header = np.lib.format.header_data_from_array_1_0(array)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)
        file.flush()
        os.fsync(file.fileno())


def write(folder: str, number: int, kind: str, vectors: np.ndarray) -> str:
    """Writes one file of a segment, whole and on the disk, or not at all.

    Args:
        folder: the index directory.
        number: the segment's.
        kind: one of KINDS.
        vectors: [n, D]; rounded to float16.

    Returns:
        The SHA-256 of the file, hex.

    Raises:
        UserError: a number is too large for float16.
        OSError: the disk is full, and so on.
    """
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(vectors, np.float16)
    if np.isinf(rounded).any():
        raise UserError(
            "an embedding is too large for float16 (above 65504): the model's weights "
            "have grown too large for an index."
        )
    name = path(folder, number, kind)
    with whole_files.replacing(name) as temporary:
        try:
            _write_array(temporary, rounded)
        except OSError as error:
            raise OSError(error.errno, error.strerror, name) from error
        digest = sha256(temporary).hex()
    sync_folder(os.path.dirname(name))
    return digest


def read(
    folder: str, number: int, kind: str, n_rows: int, dim: int, mended_by: str
) -> np.ndarray:
    """Maps one file of a segment into memory; nothing is read yet.

    Args:
        folder, number, kind: as of write.
        n_rows, dim: the shape that it must have.
        mended_by: what a user is told to do if it is damaged.

    Returns:
        float16 [n_rows, dim], read only.

    Raises:
        UserError: it is not there, or not of that shape.
    """
    name = path(folder, number, kind)
    if not n_rows:  # nothing can be mapped
        if not os.path.isfile(name):
            raise UserError(f"{name}: gone. {mended_by}")
        return np.zeros((0, dim), np.float16)
    try:
        found = np.load(name, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{name}: gone. {mended_by}") from None
    except (ValueError, EOFError, TypeError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: damaged ({reason}). {mended_by}") from error
    if not isinstance(found, np.memmap) or (
        (found.dtype, found.shape) != (np.float16, (n_rows, dim))
        or not found.flags.c_contiguous
    ):
        kept = getattr(found, "dtype", type(found).__name__)
        shape = list(getattr(found, "shape", ()))
        raise UserError(
            f"{name}: damaged (it holds {kept} {shape}, expected float16 "
            f"{[n_rows, dim]}). {mended_by}"
        )
    return found


def require(name: str, digest: str, mended_by: str) -> None:
    """UserError if the bytes of a file are not those that were written."""
    try:
        same = sha256(name).hex() == digest
    except FileNotFoundError:
        raise UserError(f"{name}: gone. {mended_by}") from None
    if not same:
        raise UserError(
            f"{name}: damaged (its bytes are not those that were written). {mended_by}"
        )


def remove_others(folder: str, numbers: Collection[int]) -> None:
    """Removes the files of other segments, and half files; other names stay."""
    place = os.path.join(folder, "segments")
    for name in os.listdir(place) if os.path.isdir(place) else ():
        ours = _NAME.fullmatch(name)
        half = whole_files.is_temporary_name(name)
        if half or (ours and int(ours[1]) not in numbers):
            os.remove(os.path.join(place, name))


def paths(folder: str, numbers: Iterable[int]) -> list[str]:
    """All files of some segments."""
    return [path(folder, number, kind) for number in numbers for kind in KINDS]


def sync_folder(folder: str) -> None:
    """Brings the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
