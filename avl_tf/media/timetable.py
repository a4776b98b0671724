"""When frames of a video are wanted, and which those are by the packets' times."""

import bisect
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import av

from avl_tf.media.packets import Stream
from avl_tf.media.progress import Progress


class Unsure(Exception):
    """What all packets would give is not known: they must be decoded."""


class Timetable(NamedTuple):
    """Wanted are the frames nearest to start, start + step, ... before end, seconds.

    With only_keys the nearest of key frames.
    """

    start: Fraction
    step: Fraction
    end: Fraction | float
    only_keys: bool = False


class Series:
    """The times of one timetable that are not decided yet, in a stream's ticks."""

    def __init__(self, timetable: Timetable, base: Fraction, origin: Fraction):
        start, step, end, _ = timetable
        self.at = (start + origin) / base
        self._step = step / base
        self._end = end if end == math.inf else (end + origin) / base
        self.is_first, self.is_tail, self.is_over = True, False, False

    def picks(self, known: Sequence[int], frontier: float) -> Iterator[int]:
        """Takes the times that can be decided; yields the pts that are wanted."""
        while not self.is_over:
            index = bisect.bisect_left(known, self.at)
            if index == len(known) or known[index] > frontier:
                return
            before, after = known[max(0, index - 1)], known[index]
            if self.is_tail:
                self.is_over = True
                yield after
                return
            # Of two that are equally near the earlier, as Pictures has it.
            is_before = abs(self.at - before) <= after - self.at
            nearest = before if is_before else after
            yield nearest
            if self.is_first:
                yield before  # what is shown at the start tells where a seek has led
            self.is_first = False
            reached = max(self.at, Fraction(nearest))
            self.at += self._step
            if self.at >= self._end:
                # One more frame tells that no more is needed.
                self.is_tail, self.at = True, Fraction(math.floor(reached) + 1)

    def horizon(self, known: Sequence[int]) -> float:
        """The first of the known pts that may still be wanted."""
        if self.is_over or not known:
            return math.inf
        index = bisect.bisect_left(known, self.at)
        return known[max(0, index - 1)]


class Sieve:
    """What is known of the wanted times of a stream from the packets so far.

    Args:
        stream: of the video; its decoder works in one thread.
        origin: second 0 of the file, by the stream's clock.
        timetables: what is wanted.
    """

    def __init__(
        self, stream: Stream, origin: Fraction, timetables: Sequence[Timetable]
    ):
        self._stream, self._context = stream, stream.codec_context
        self._context.skip_frame = "DEFAULT"
        self._series = [Series(one, stream.time_base, origin) for one in timetables]
        # Times of frames that may be wanted, sorted.
        self._known: list[int] = []
        # No packet to come has a time before the frontier.
        self._frontier = -math.inf

    def _advance(self, packet: av.Packet) -> int:
        """Moves the frontier to a packet; returns its pts, or raises Unsure."""
        pts, dts = packet.pts, packet.dts
        if pts is None or pts < self._frontier or packet.is_corrupt:
            raise Unsure
        if dts is not None:
            if dts > pts:
                raise Unsure
            self._frontier = max(self._frontier, dts)
        return pts

    def _picks(self) -> Iterator[int]:
        """Takes the times that can be decided; yields the pts that are wanted."""
        for one in self._series:
            yield from one.picks(self._known, self._frontier)

    def _is_open(self) -> bool:
        """Whether times are left when packets end: the last is the nearest to all."""
        return bool(self._known) and not all(one.is_over for one in self._series)

    def _horizon(self) -> float:
        """The first of the known pts that may still be wanted."""
        horizons = (one.horizon(self._known) for one in self._series)
        return min(horizons, default=math.inf)


def note(packet: av.Packet, all_progress: Sequence[Progress]) -> None:
    """Notes how far a packet goes that is not decoded."""
    for progress in all_progress:
        progress.note_packet(packet)
