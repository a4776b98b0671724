"""How far a stream has been decoded, and whether it is damaged on the way."""

from fractions import Fraction
from typing import NamedTuple

import av
from av.stream import Stream

_RAGGED_EDGE_S = 1


class TimedFrame(NamedTuple):
    """A decoded frame with its time and duration, in seconds on the file's clock."""

    time: Fraction
    duration: Fraction
    frame: av.AudioFrame | av.VideoFrame


class Progress:
    """One stream of a file that is being decoded.

    What a packet or a frame tells is kept as it is, and put into seconds only when
    there is damage: exact fractions cost more than decoding sound does.

    Args:
        stream: the stream.
        origin: second 0 of the file, by the streams' clocks.
        begin: the stream's start in seconds; None if it is not read from there, so that
            the first frame that comes is.
        end: its end as declared; 0 if it is not.

    Attributes:
        last: the last frame that was decoded.
        damage: time and reason of the first damage; the first second is let pass.
    """

    def __init__(
        self, stream: Stream, origin: Fraction, begin: Fraction | None, end: Fraction
    ):
        self.stream, self.origin, self.begin, self.end = stream, origin, begin, end
        self.last: TimedFrame | None = None
        self.damage: tuple[Fraction, str] | None = None
        # A stream that declares no length is judged by the file's, which any of its
        # streams may be the one to reach.
        self._counts_all = stream.duration is None
        self._packet_ends: dict[int, tuple[int, Fraction]] = {}

    @property
    def reached(self) -> Fraction:
        """Seconds up to which packets or frames were seen."""
        ends = [n * base - self.origin for n, base in self._packet_ends.values()]
        if self.last:
            ends.append(self.last.time + self.last.duration)
        return max(ends, default=Fraction(0))

    def note_packet(self, packet: av.Packet) -> None:
        """Notes how far a packet goes."""
        index = packet.stream_index
        if packet.pts is None or not (self._counts_all or index == self.stream.index):
            return
        end = packet.pts + (packet.duration or 0)
        if index not in self._packet_ends or end > self._packet_ends[index][0]:
            self._packet_ends[index] = end, packet.time_base

    def note_frame(self, timed: TimedFrame) -> None:
        """Notes a decoded frame."""
        self.begin = timed.time if self.begin is None else self.begin
        self.last = timed

    def note_damage(self, packet: av.Packet | None, reason: str) -> None:
        """Notes damage, if it is the first and not in the stream's first second."""
        at = self.reached
        if packet is not None and packet.pts is not None:
            at = packet.pts * packet.time_base - self.origin
        if self.begin is not None and at >= self.begin + _RAGGED_EDGE_S:
            self.damage = self.damage or (at, reason)

    def is_damaged(self) -> bool:
        """Tells whether there is damage, and not in the last second."""
        if self.damage is None:
            return False
        return self.damage[0] < max(self.end, self.reached) - _RAGGED_EDGE_S

    def is_cut(self) -> bool:
        """Tells, of a stream read to its end, whether it ends before it should."""
        return self.last is not None and self.reached < self.end - _RAGGED_EDGE_S
