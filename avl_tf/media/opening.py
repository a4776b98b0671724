"""A path in, an open container out, or an error that says what is wrong with it."""

import os
import textwrap

import av
from av.container import InputContainer

from avl_tf.media import packets
from avl_tf.media.packets import Logs

_LONGEST = 300  # characters; FFmpeg may log a line for every packet


class MediaError(Exception):
    """A file's content cannot be read; the message starts with the file's path."""


def media_error(path: str, what: str, reason: str | None = None) -> MediaError:
    """Makes the error that says what is wrong with a file, and why."""
    reason = textwrap.shorten(reason or "", _LONGEST, placeholder=" ..")
    return MediaError(f"{path}: {what}" + (f": {reason}." if reason else "."))


def require_file(path: str | os.PathLike) -> None:
    """Raises FileNotFoundError, or MediaError for a folder."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{os.fspath(path)}: no such file.")
    if os.path.isdir(path):
        raise MediaError(f"{os.fspath(path)}: a folder, expected a media file.")


def open_container(path: str) -> tuple[InputContainer, Logs]:
    """Opens a file with FFmpeg.

    Returns:
        The container, and what FFmpeg has logged about it.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: FFmpeg cannot open it.
    """
    require_file(path)
    with av.logging.Capture() as logs:
        try:
            # "file:" keeps a colon in a name from being read as a protocol. Titles in
            # old files are often not UTF-8.
            return av.open(f"file:{path}", metadata_errors="replace"), logs
        except av.FFmpegError as error:
            reason = packets.reason(error, logs)
            raise media_error(path, "cannot be opened", reason) from error
