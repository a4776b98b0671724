"""How far a stream has been decoded: its frames' times, and damage on the way."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av

from avl_tf.media.lengths import Lengths
from avl_tf.media.packets import Frame, Stream

_RAGGED_EDGE_S = 1
# How long frames of one kind are kept after that time while the other has not begun:
# pictures are large, sound waits for decoders that are some pictures behind.
_PATIENCE_S = {"video": 0, "audio": 60}


class TimedFrame(NamedTuple):
    """A decoded frame with its time and duration, in seconds on the file's clock.

    The frame is None where it was left out, and its place alone is told.
    """

    time: Fraction
    duration: Fraction
    frame: Frame


class Progress:
    """One stream of a file that is being decoded.

    What a packet tells is kept as it is, and put into seconds only when there is
    damage: exact fractions cost more than decoding sound does.

    Args:
        stream: the stream.
        lengths: the file's clock, and what it declares.
        sought: it is not read from its start, so that it begins with the first frame
            that comes.

    Attributes:
        end: its end in seconds as declared; 0 if it is not.
        last: the last frame that was decoded.
        n_frames: how many were.
    """

    def __init__(self, stream: Stream, lengths: Lengths, sought: bool):
        self.stream, self.end = stream, lengths.declared(stream) or Fraction(0)
        self.last: TimedFrame | None = None
        self.n_frames = 0
        self._damage: tuple[Fraction, str] | None = None
        self._origin, self._base = lengths.origin, stream.time_base
        self._counts_frames = lengths.counts_frames
        self._start = Fraction(0)
        if stream.start_time is not None:
            self._start = self._seconds(stream.start_time)
        self._begin = None if sought else self._start
        if stream.type == "video":
            self._usual_duration = 1 / (stream.guessed_rate or Fraction(25))
        # A stream that declares no length is judged by the file's, which any of its
        # streams may be the one to reach.
        self._counts_all = not lengths.has_own(stream)
        self._packet_ends: dict[int, tuple[int, Fraction]] = {}

    @property
    def reached(self) -> Fraction:
        """Seconds up to which packets or frames were seen."""
        ends = [n * base - self._origin for n, base in self._packet_ends.values()]
        if self.last:
            ends.append(self.last.time + self.last.duration)
        return max(ends, default=Fraction(0))

    def note_packet(self, packet: av.Packet) -> None:
        """Notes how far a packet goes."""
        index = packet.stream_index
        if packet.pts is None or not (self._counts_all or index == self.stream.index):
            return
        end = packet.pts + (packet.duration or 0)
        known = self._packet_ends.get(index)
        if known is None:
            self._packet_ends[index] = end, packet.time_base
        elif end > known[0]:
            self._packet_ends[index] = end, known[1]

    def note_frame(self, frame: Frame) -> TimedFrame:
        """Notes a decoded frame; returns it with its time."""
        self.last = self._timed(frame)
        self.n_frames += 1
        self._begin = self.last.time if self._begin is None else self._begin
        return self.last

    def place(self, pts: int, duration: int) -> TimedFrame:
        """Returns where a frame of video is shown that was not decoded."""
        duration_s = duration * self._base or self._usual_duration
        return TimedFrame(self._seconds(pts), duration_s, None)

    def note_damage(self, packet: av.Packet | None, reason: str) -> None:
        """Notes damage, if it is the first and not in the stream's first second."""
        at = self.reached
        if packet is not None and packet.pts is not None:
            at = packet.pts * packet.time_base - self._origin
        if self._begin is not None and at >= self._begin + _RAGGED_EDGE_S:
            self._damage = self._damage or (at, reason)

    @property
    def damage(self) -> tuple[Fraction, str] | None:
        """Time and reason of the first damage; None within the first or last second."""
        damage, edge = self._damage, _RAGGED_EDGE_S
        if damage is None or damage[0] >= max(self.end, self.reached) - edge:
            return None
        return damage

    def is_cut(self) -> bool:
        """Tells, of a stream read to its end, whether it ends before it should."""
        return self.last is not None and self.reached < self.end - _RAGGED_EDGE_S

    def _timed(self, frame: Frame) -> TimedFrame:
        if self.stream.type == "audio":
            duration = Fraction(frame.samples, frame.sample_rate)
        else:
            duration = (frame.duration or 0) * self._base or self._usual_duration
        if frame.pts is not None and not (self._counts_frames and self.last):
            time = self._seconds(frame.pts)
            # Frames come out in the order of presentation, so a time that goes back is
            # a reset clock (joined MPEG-TS) or a wrong guess (B-frames in AVI).
            if self.last is None or time > self.last.time:
                return TimedFrame(time, duration, frame)
        follows = self.last.time + self.last.duration if self.last else self._start
        return TimedFrame(follows, duration, frame)

    def _seconds(self, ticks: int) -> Fraction:
        """Puts a stream's time on the file's clock."""
        base, origin = self._base, self._origin
        # ticks * base - origin in one go: this is done for every frame.
        denominator = base.denominator * origin.denominator
        numerator = ticks * base.numerator * origin.denominator
        return Fraction(numerator - origin.numerator * base.denominator, denominator)


def frames_around(
    start: Fraction, frames: Iterator[tuple[str, TimedFrame]], kinds: set[str]
) -> list[tuple[str, TimedFrame]]:
    """Takes the frames up to where every kind has begun; none if one begins late."""
    head = []
    for kind, timed in frames:
        # A frame without a time of its own does not tell where the seek has led.
        unplaced = timed.frame is None or timed.frame.pts is None or timed.time > start
        if (kind in kinds and unplaced) or timed.time > start + _PATIENCE_S[kind]:
            break
        head.append((kind, timed))
        kinds.discard(kind)
        if not kinds:
            return head
    return []
