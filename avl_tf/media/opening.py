"""A path in, an open container out, or an error that says what is wrong with it.

FFmpeg is handed the bytes of one file and nothing else: it cannot open another one by
what this one says, nor a connection, and it reads formats.READ only.
"""

import errno
import io
import os
import textwrap
from typing import NamedTuple

import av
from av.container import InputContainer

from avl_tf.errors import MediaError
from avl_tf.media import formats, packets
from avl_tf.media.packets import Logs
from avl_tf.settings.limits import PixelLimit

_LONGEST = 300  # characters; FFmpeg may log a line for every packet


class Note(NamedTuple):
    """What is worth telling of a file that can be read: what kind of thing, and it."""

    kind: str
    text: str


def media_error(path: str, what: str, reason: str | None = None) -> MediaError:
    """Makes the error that says what is wrong with a file, and why."""
    reason = textwrap.shorten(reason or "", _LONGEST, placeholder=" ..")
    return MediaError(f"{path}: {what}" + (f": {reason}." if reason else "."))


def require_file(path: str | os.PathLike) -> None:
    """Raises FileNotFoundError, or MediaError for a folder, a pipe or a device."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(path)}: no such file.")
    if not os.path.isfile(path):
        # A pipe would be waited for, perhaps for ever.
        what = "a folder" if os.path.isdir(path) else "a pipe or a device"
        raise MediaError(f"{os.fspath(path)}: {what}, expected a media file.")


def open_container(path: str, limit: PixelLimit) -> tuple[InputContainer, Logs]:
    """Opens a file with FFmpeg.

    Args:
        path: the file.
        limit: no larger picture is decoded to find out what is in it.

    Returns:
        The container, and what FFmpeg has logged about it.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: FFmpeg cannot open it, or it is of a format that is not read.
    """
    require_file(path)
    # FFmpeg goes by the end of the name too, where the content is ambiguous or nothing
    # but samples. The rest could mean something: a protocol, a number to fill in.
    suffix = os.path.splitext(path)[1].lower()
    hint = f"media{suffix}" if suffix[1:].isalnum() else ""
    with av.logging.Capture() as logs:
        try:
            try:
                return _open(path, hint, limit), logs
            except av.FFmpegError:
                if _refused(logs) != formats.NUMBERED:
                    raise
                logs.clear()
                return _open(path, "", limit), logs
        except (av.FFmpegError, OSError) as error:
            if name := _refused(logs):
                raise media_error(path, formats.refusal(name)) from error
            reason = packets.reason(error, logs)
            if refusal := limit.refusal_of(reason):
                raise media_error(path, refusal) from error
            raise media_error(path, "cannot be opened", reason) from error


def _open(path: str, hint: str, limit: PixelLimit) -> InputContainer:
    options = {
        "format_whitelist": ",".join(sorted(formats.READ)),
        "protocol_whitelist": "file",
        "max_pixels": limit.for_decoders,
    }
    # Titles in old files are often not UTF-8.
    return av.open(
        _OneFile(path, hint),
        "r",
        options=options,
        metadata_errors="replace",
        io_open=_nothing,
    )


def _refused(logs: Logs) -> str:
    """The name of the format for which FFmpeg has refused a file; "" if it has not."""
    for _, name, text in logs:
        if text.startswith("Format not on"):
            return name
        # Of a list under the name of a video it does not ask whether it may.
        if text.startswith("Not detecting m3u8/hls"):
            return "hls"
    return ""


def _nothing(_url: str, _flags: int, _options: dict) -> io.BytesIO:
    """What there is in any other file that FFmpeg asks for."""
    # Not an error: PyAV prints those of a second call.
    return io.BytesIO()


class _OneFile(io.FileIO):
    """A file as FFmpeg wants it read: what fails is told by a number, or told once."""

    def __init__(self, path: str, name: str):
        super().__init__(path)
        self.name = name
        self._failed = False

    def __del__(self):
        # PyAV keeps it as long as the container, and does not close it.
        self.close()

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads some bytes; none after a failure."""
        try:
            return b"" if self._failed else super().read(size) or b""
        except OSError as error:
            self._failed = True
            number = error.errno or errno.EIO
            raise av.FFmpegError(number, os.strerror(number)) from error

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves to a place; what is below 0 is FFmpeg's number of an error."""
        try:
            return super().seek(offset, whence)
        except OSError as error:
            return -(error.errno or errno.EIO)
