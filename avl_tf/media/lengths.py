"""Where the streams of a file begin and end, on the file's clock."""

import os
from collections.abc import Sequence
from fractions import Fraction

import av
from av.container import InputContainer

from avl_tf.media import joined, opening, packets
from avl_tf.media.packets import Logs, Stream
from avl_tf.settings.limits import Limits

# How much of a file is read to see where its sound ends.
_TAIL_S = 30
# Formats that declare the length of a file at most; those that declare none, where
# FFmpeg measures streams. One that it has not met at once, or that is one picture, it
# holds to last as long as the file.
_OF_THE_WHOLE = ("matroska,webm", "asf", "nut", "flv")
_MEASURED = ("mpegts", "mpeg")
_ROUNDING_S = Fraction(2, 1000)


class Lengths:
    """The clock of an open file.

    Args:
        path: the file.
        container: the file, opened.
        streams: its audio and video streams.
        logs: what FFmpeg has logged when it opened the file.
        limits: of the file, should it be opened once more.

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
        limits: Limits,
    ):
        self._limits = limits
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

    def has_own(self, stream: Stream) -> bool:
        """Tells whether a stream's duration is its own, and not that of the file."""
        if stream.duration is None:
            return False
        name, of_file = self._container.format.name, self._container.duration
        if name in _MEASURED and of_file is not None:
            length = _seconds(stream.duration, stream)
            guessed = abs(length - Fraction(of_file, av.time_base)) < _ROUNDING_S
        else:
            guessed = name in _OF_THE_WHOLE
        return not guessed or len(self._streams) == 1

    def declared(self, stream: Stream) -> Fraction | None:
        """Returns where a stream ends by its own or its file's account, or None."""
        if self._guesses:
            return None
        if stream.duration is not None:
            # ASF's length is the file's, whenever one of its streams begins.
            begin = stream.start_time or 0
            if self._container.format.name == "asf":
                begin = round(self.origin / stream.time_base)
            end = _seconds(begin + stream.duration, stream)
            return end * _hidden_length(self._path) - self.origin
        if self._container.duration is not None:
            return Fraction(self._container.duration, av.time_base) - self.origin
        return None

    def end(self, stream: Stream) -> Fraction:
        """Returns where a stream ends, as it declares it, or by its last packet.

        A container may declare no more than the end of its longest stream.
        """
        declared = self.declared(stream)
        if len(self._streams) == 1:
            return self.whole()
        if declared is not None and self.has_own(stream):
            return declared
        step = _TAIL_S
        while declared is not None and step < declared:
            if end := self._last(stream.index, declared - step):
                return end
            step *= 4
        return self._last(stream.index) or Fraction(0)

    def _last(self, index: int, start: Fraction | None = None) -> Fraction | None:
        """Returns where the last packet of a stream ends, by those from start on."""
        container, logs = opening.open_container(self._path, self._limits.of_videos)
        with container, av.logging.Capture() as said:
            stream, end = container.streams[index], None
            try:
                if start is not None:
                    container.seek(round((start + self.origin) * av.time_base))
                for packet in packets.demux(container, [stream]):
                    at = self.origin if end is None else end
                    if packet.pts is not None:
                        at = _seconds(packet.pts, stream)
                    after = at + _seconds(packet.duration, stream)
                    end = after if end is None else max(end, after)
            except av.FFmpegError as error:
                if start is None:
                    reason = packets.reason(error, [*logs, *said])
                    raise opening.media_error(
                        self._path, "cannot be read", reason
                    ) from error
                return None
        return None if end is None else end - self.origin

    def all_declared(self) -> list[Fraction]:
        """The ends that are declared, of all streams."""
        ends = map(self.declared, self._streams)
        return [end for end in ends if end is not None]

    def whole(self) -> Fraction:
        """Returns the end of the longest stream; reads the file if one is unknown."""
        ends = self.all_declared()
        return max(ends) if len(ends) == len(self._streams) else self.measured()

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
