"""Where the streams of a file begin and end, on the file's clock."""

import os
from collections.abc import Sequence
from fractions import Fraction

import av
from av.container import InputContainer

from avl_tf.media import joined, opening, packets
from avl_tf.media.packets import Logs, Stream


class Lengths:
    """The clock of an open file.

    Args:
        path: the file.
        container: the file, opened.
        streams: its audio and video streams.
        logs: what FFmpeg has logged when it opened the file.

    Attributes:
        origin: second 0 of the file, by the streams' clocks.
        is_joined: it goes on where its header says it ends; see media.joined.
        counts_frames: how long its frames are is all that tells its times.
    """

    def __init__(
        self,
        path: str,
        container: InputContainer,
        streams: Sequence[Stream],
        logs: Logs,
    ):
        self._path, self._container, self._streams = path, container, streams
        # For WAV, whose bit rate is constant, the guess is exact.
        self._guesses = container.format.name != "wav" and any(
            "duration from bitrate" in text for _, _, text in logs
        )
        name = container.format.name
        self.is_joined = name == "mp3" and joined.is_joined(path)
        self._guesses |= self.is_joined
        self.counts_frames = name == "aac" or (name == "mp3" and self._guesses)
        starts = [
            _seconds(stream.start_time, stream)
            for stream in streams
            if stream.start_time is not None
        ]
        self.origin = min(starts, default=Fraction(0))

    def declared(self, stream: Stream) -> Fraction | None:
        """Returns where a stream ends by its own or its file's account, or None."""
        if self._guesses:
            return None
        if stream.duration is not None:
            end = _seconds((stream.start_time or 0) + stream.duration, stream)
            return end * _hidden_length(self._path) - self.origin
        if self._container.duration is not None:
            return Fraction(self._container.duration, av.time_base) - self.origin
        return None

    def measured(self) -> Fraction:
        """Returns where the last packet of the file ends; reads them all."""
        ends = dict.fromkeys(self._streams, Fraction(0))
        with av.logging.Capture() as logs:
            try:
                for packet in packets.demux(self._container, self._streams):
                    stream = packet.stream
                    length = _seconds(packet.duration, stream)
                    if self.counts_frames:
                        ends[stream] += joined.frame_s(bytes(packet))
                    elif packet.pts is None:
                        ends[stream] += length
                    else:
                        at = _seconds(packet.pts, stream) - self.origin
                        ends[stream] = max(ends[stream], at + length)
            except av.FFmpegError as error:
                reason = packets.reason(error, logs)
                raise opening.media_error(
                    self._path, "cannot be read", reason
                ) from error
        return max(ends.values()) - (self.origin if self.counts_frames else 0)


def _seconds(ticks: int | None, stream: Stream) -> Fraction:
    return (ticks or 0) * stream.time_base


def _hidden_length(path: str) -> Fraction:
    """Returns how many times longer a cut RIFF file (WAV, AVI) claims to be.

    FFmpeg corrects the header's length by the file's size without a word.
    """
    with open(path, "rb") as file:
        magic, size = file.read(4), int.from_bytes(file.read(4), "little") + 8
    # Programs that write to a pipe put in the largest size there is.
    if magic != b"RIFF" or size >= 0x7FFFF000:
        return Fraction(1)
    return max(Fraction(1), Fraction(size, os.path.getsize(path)))
