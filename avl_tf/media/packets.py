"""Packets out of a container, frames out of packets, and what FFmpeg says meanwhile."""

import logging
from collections.abc import Container, Iterator, Sequence
from typing import Any, Literal

import av
from av.container import InputContainer

from avl_tf.settings.limits import TOO_LARGE

# PyAV hands FFmpeg's messages to Python from a set level on. They are needed for the
# text of a MediaError, and to notice damage that FFmpeg logs without failing; none of
# them may reach the user's terminal.
av.logging.set_level(av.logging.WARNING)
av.logging.set_skip_repeated(False)
logging.getLogger("libav").propagate = False
logging.getLogger("libav").addHandler(logging.NullHandler())

# What decoders (of H.264, of FLAC) log when they hide damage instead of failing.
CONCEALED = ("error while decoding MB", "decode_frame() failed", TOO_LARGE)
# The same for JPEG images, baseline and progressive.
TORN = ("overread", "error y=", TOO_LARGE)

Kind = Literal["audio", "video"]
# Of either kind: PyAV's types do not tell one from the other by its name, and hold that
# a time base may be None.
Stream = Any
Frame = Any
# What av.logging.Capture collects: level, name, text.
Logs = Sequence[tuple[int, str, str]]


def demux(container: InputContainer, streams: Sequence[Stream]) -> Iterator[av.Packet]:
    """Yields the packets of some streams of a container, in the file's order."""
    try:
        yield from container.demux(streams)
    except IndexError:
        # PyAV 18.1 stumbles, after the last packet, over streams that have turned up on
        # the way (MPEG-TS).
        return


def next_frames(
    packets: Iterator[av.Packet], indices: Container[int], concealed: tuple[str, ...]
) -> tuple[av.Packet | None, list, str]:
    """Reads one packet: itself (None at the end), its frames, and what is wrong.

    Args:
        packets: as demux yields them.
        indices: of the streams that are decoded.
        concealed: parts of messages by which a decoder tells of damage it has hidden;
            "" is part of all.
    """
    packet, frames, problem = None, [], ""
    with av.logging.Capture() as logs:
        try:
            packet = next(packets, None)
            problem = _errors(logs)
            if packet is not None and packet.stream_index in indices:
                if packet.is_corrupt:
                    problem = problem or "a packet is incomplete"
                frames = packet.decode()
                said = _errors(logs)
                if said and any(mark in said for mark in concealed):
                    problem = said
        except av.FFmpegError as error:
            problem = reason(error, logs)
    return packet, frames, problem


def reason(error: av.FFmpegError | OSError, logs: Logs) -> str:
    """Says why FFmpeg has failed, with what it has logged on the way."""
    details = _errors(logs)
    return f"{error.strerror} ({details})" if details else f"{error.strerror}"


def _errors(logs: Logs) -> str:
    if not logs:  # nearly always
        return ""
    return "; ".join(
        text.strip() for level, _, text in logs if level <= av.logging.ERROR
    )
