"""Packets of a video in, those out that the wanted frames need.

Which frame is the nearest to a wanted time is told by the packets' times, before any is
decoded. Left out are the frames behind the last wanted one up to where decoding can
begin anew, and those that no other refers to.
"""

import bisect
import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av

from avl_tf.media import nal_units
from avl_tf.media.packets import Frame, Stream
from avl_tf.media.progress import Progress, TimedFrame
from avl_tf.media.timetable import Sieve, Timetable, Unsure, note

# Decoders that leave out, when told to, what nothing refers to, and no more. VP9's
# learns from such frames, and HEVC's layers refer to each other.
_KNOW_REFERENCES = ("mpeg4", "mpeg2video", "mpeg1video")
# Where nothing from a key frame on refers to what was before it, but for frames that
# are shown before it.
_BEGIN_AT_KEYS = ("mpeg4", "mpeg2video", "mpeg1video", "vp8", "vp9", "libdav1d")


# So long all is decoded, to see that frames come out in the order of their times.
_WARM_UP_S = 1
_MOST_HELD = 1000


@dataclasses.dataclass(eq=False, slots=True)
class _Held:
    packet: av.Packet
    pts: int
    is_shown: bool
    begins: bool


class Sparing(Sieve):
    """Leaves out what no wanted frame of a video needs.

    Its methods raise Unsure where packets have not the times they should have, and
    where other frames come out of the decoder than were expected.
    """

    def __init__(
        self, stream: Stream, origin: Fraction, timetables: Sequence[Timetable]
    ):
        super().__init__(stream, origin, timetables)
        self._warm_up = math.ceil(_WARM_UP_S / stream.time_base)
        self._warm_until = -math.inf
        self._queue: collections.deque[_Held] = collections.deque()
        self._begin: _Held | None = None
        # Times of frames: wanted and in the queue; sent to the decoder; awaited from
        # it; come while it warmed up. Lists are sorted.
        self._wanted: set[int] = set()
        self._sent: list[int] = []
        self._awaited: list[int] = []
        self._came: set[int] = set()
        self._latest = self._shown = -math.inf

    @classmethod
    def of(
        cls,
        streams: Iterable[Stream],
        origin: Fraction,
        timetables: Sequence[Timetable],
    ) -> "Sparing | None":
        """Makes one for the video among some streams; None if nothing can be spared."""
        for stream in streams:
            name = stream.type == "video" and stream.codec_context.name
            if timetables and (name in _BEGIN_AT_KEYS or name in nal_units.CODECS):
                return cls(stream, origin, timetables)
        return None

    def sift(
        self, demuxed: Iterator[av.Packet], all_progress: Sequence[Progress]
    ) -> Iterator[av.Packet]:
        """Yields the packets to decode, and other streams'; has the rest noted."""
        for packet in demuxed:
            if packet.stream_index != self._stream.index:
                yield packet
            elif packet.size:
                self._take(packet)
                if self._decide() or (packet.pts or 0) < self._warm_until:
                    yield from self._released(all_progress)
            else:  # the end
                self._frontier = math.inf
                self._decide()
                if self._is_open():
                    self._want(self._known[-1])  # it tells where the video ends
                self._series.clear()
                yield from self._released(all_progress)
                yield packet

    def check(self, frame: Frame) -> None:
        """Takes the next frame that the decoder gives."""
        pts = frame.pts
        # Of interlaced video a packet may hold half a frame.
        if pts is None or pts <= self._shown or frame.interlaced_frame:
            raise Unsure
        index = bisect.bisect_left(self._sent, pts)
        if self._sent[index : index + 1] != [pts]:
            raise Unsure
        del self._sent[: index + 1]
        self._shown = pts
        if pts < self._warm_until:
            self._came.add(pts)
        if self._awaited and self._awaited[0] <= pts and self._awaited.pop(0) != pts:
            raise Unsure

    def finish(self, _: Sequence[Progress]) -> Sequence[TimedFrame]:
        """Makes sure that all wanted frames have come."""
        if self._awaited:
            raise Unsure
        return ()

    def _take(self, packet: av.Packet) -> None:
        pts = self._advance(packet)
        if self._warm_until == -math.inf:
            self._warm_until = pts + self._warm_up
        begins = pts > self._latest and packet.is_keyframe and self._begins(packet)
        if self._begin and pts < self._begin.pts:
            self._begin.begins = False
        self._latest = max(self._latest, pts)
        held = _Held(packet, pts, not packet.is_discard, begins)
        self._begin = held if begins else self._begin
        self._queue.append(held)
        if len(self._queue) > _MOST_HELD or (held.is_shown and pts in self._known):
            raise Unsure
        if held.is_shown:
            bisect.insort(self._known, pts)

    def _begins(self, packet: av.Packet) -> bool:
        """Tells whether no packet from this one on refers to one before it."""
        if self._context.name in _BEGIN_AT_KEYS:
            return True
        return nal_units.begins(packet, self._context)

    def _decide(self) -> bool:
        """Decides on the times that can be decided; tells whether there was one."""
        found = False
        for pts in self._picks():
            self._want(pts)
            found = True
        return found

    def _want(self, pts: int) -> None:
        if pts in self._came or pts in self._awaited:
            return
        if pts <= self._shown:
            raise Unsure
        if pts in self._sent:
            bisect.insort(self._awaited, pts)
        else:
            self._wanted.add(pts)

    def _released(self, all_progress: Sequence[Progress]) -> Iterator[av.Packet]:
        """Yields what is needed and leaves out what is not, as far as is known."""
        queue, horizon = self._queue, self._horizon()
        while queue:
            # From one place where decoding can begin to the next.
            n_needed = n_decided = 0
            is_whole = self._frontier == math.inf
            for held in queue:
                if n_decided and held.begins and held.pts <= self._frontier:
                    is_whole = True
                    break
                is_wanted = self._is_wanted(held)
                if held.is_shown and not is_wanted and held.pts >= horizon:
                    is_whole = False
                    break
                n_decided += 1
                n_needed = n_decided if is_wanted else n_needed
            for _ in range(n_needed):
                if self._is_needed(held := queue.popleft()):
                    yield self._sending(held)
                else:
                    note(held.packet, all_progress)
            if not is_whole:
                break
            for _ in range(n_decided - n_needed):
                note(queue.popleft().packet, all_progress)
        del self._known[: bisect.bisect_left(self._known, min(horizon, self._frontier))]

    def _is_needed(self, held: _Held) -> bool:
        """Tells whether a packet before one that is needed is needed too."""
        if self._context.name != "h264" or self._is_wanted(held):
            return True
        return nal_units.is_referred_to(held.packet, self._context)

    def _is_wanted(self, held: _Held) -> bool:
        return held.pts in self._wanted or held.pts < self._warm_until

    def _sending(self, held: _Held) -> av.Packet:
        """Tells the decoder whether the frame is wanted."""
        is_wanted = self._is_wanted(held)
        if held.is_shown:
            bisect.insort(self._sent, held.pts)
        if held.pts in self._wanted:
            self._wanted.remove(held.pts)
            bisect.insort(self._awaited, held.pts)
        if self._context.name in _KNOW_REFERENCES:
            self._context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        return held.packet
