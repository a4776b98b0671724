"""A stretch of an open file that hands out no byte, and no memory, it does not have."""

import io

from avl_tf.errors import UserError

_PIECE = 1 << 20


class Window:
    """Bytes start to end of a binary file, read from the front.

    Several windows may share a file: each keeps its own position. All sizes are bytes.
    """

    def __init__(self, file: io.BufferedIOBase, start: int, end: int):
        self._file = file
        self._start = start
        self._end = end
        self.position = start

    @classmethod
    def of_bytes(cls, data: bytes) -> "Window":
        """Makes a window on bytes in memory."""
        return cls(io.BytesIO(data), 0, len(data))

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def remaining(self) -> int:
        """How much is not yet read."""
        return self._end - self.position

    def read(self, size: int) -> bytes:
        """Reads exactly size bytes.

        Raises:
            ValueError: fewer are left. Nothing is allocated then.
        """
        # Once for every instruction of a pickle: no calls that are not needed.
        start, end = self.position, self.position + size
        if not start <= end <= self._end:
            raise self._not_there(size)
        self._file.seek(start)
        data = self._file.read(size)
        if len(data) != size:
            raise UserError("the file became shorter while it was read")
        self.position = end
        return data

    def readline(self) -> bytes:
        """Reads up to and with the next newline, or up to the end."""
        self._file.seek(self.position)
        line = self._file.readline(self.remaining)
        self.position += len(line)
        return line

    def cut(self, size: int) -> "Window":
        """Steps over size bytes and returns a window on them."""
        start, end = self.position, self.position + size
        if not start <= end <= self._end:
            raise self._not_there(size)
        self.position = end
        return Window(self._file, start, end)

    def restarted(self) -> "Window":
        """Returns a window on the same bytes that stands at their front."""
        return Window(self._file, self._start, self._end)

    def read_into(self, target: memoryview) -> None:
        """Fills a byte buffer of the window's length with the whole window."""
        self._file.seek(self._start)
        # In pieces, as a file inside a zip archive copies what it reads.
        for start in range(0, len(self), _PIECE):
            piece = target[start : start + _PIECE]
            if self._file.readinto(piece) != len(piece):
                raise UserError("the file became shorter while it was read")

    def _not_there(self, size: int) -> UserError:
        return UserError(
            f"it is cut short or damaged: {size} bytes are wanted at byte "
            f"{self.position}, {self.remaining} are left"
        )
