"""A long row of numbers that does not stay in memory; no TensorFlow here."""

import contextlib
import tempfile
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from avl_tf.errors import UserError

# Sound of 16 kHz for eight minutes: short recordings never touch the disk.
IN_MEMORY_BYTES = 16_000_000
_PIECE = 1_000_000


class Spool:
    """Takes numbers piece by piece and gives back any span of them.

    Beyond IN_MEMORY_BYTES they lie in a file without a name, which is gone with the
    process, however that ends. A context manager.

    Attributes:
        folder: as given.

    Args:
        dtype: of the numbers.
        folder: a local one, where that file is made; None keeps all in memory.
    """

    def __init__(self, dtype: npt.DTypeLike, folder: str | None):
        self._dtype, self.folder = np.dtype(dtype), folder
        longest = IN_MEMORY_BYTES if folder else 0  # which is no limit
        self._file = tempfile.SpooledTemporaryFile(longest, dir=folder)
        self._length = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *error) -> None:
        # What a full disk has not taken is tried once more.
        with contextlib.suppress(OSError):
            self._file.close()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, span: slice) -> np.ndarray:
        first, last, _ = span.indices(self._length)
        n_bytes = self._dtype.itemsize
        self._file.seek(first * n_bytes)
        content = self._file.read(max(0, last - first) * n_bytes)
        return np.frombuffer(content, self._dtype)

    def append(self, numbers: np.ndarray) -> None:
        """Takes the next numbers, of any shape.

        Raises:
            UserError: the disk does not take them.
        """
        try:
            self._file.seek(self._length * self._dtype.itemsize)
            self._file.write(np.ascontiguousarray(numbers, self._dtype).data)
            self._file.flush()
        except OSError as error:
            raise UserError(
                "its sound is too long for memory, and cannot be put down in "
                f"{self.folder} for the while: {error.strerror}."
            ) from error
        self._length += numbers.size

    def any(self) -> bool:
        """Whether one of them is not 0."""
        return any(piece.any() for piece in self.pieces())

    def pieces(self) -> Iterator[np.ndarray]:
        """Yields them all, a million at a time."""
        for first in range(0, self._length, _PIECE):
            yield self[first : first + _PIECE]

    def clear(self) -> None:
        """Forgets all numbers so far."""
        self._file.seek(0)
        self._file.truncate()
        self._length = 0
