"""Packets of a video in, those out that hold the wanted key frames."""

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av

from avl_tf.media.packets import Frame, Stream
from avl_tf.media.progress import Progress, TimedFrame
from avl_tf.media.sparing import Sparing
from avl_tf.media.timetable import Sieve, Timetable, Unsure, note


class KeyFrames(Sieve):
    """Leaves out all but the wanted key frames; each is decoded by itself.

    Methods as of Sparing.
    """

    def __init__(
        self, stream: Stream, origin: Fraction, timetables: Sequence[Timetable]
    ):
        super().__init__(stream, origin, timetables)
        # Key frames that may be wanted, by their times.
        self._held: dict[int, av.Packet] = {}
        self._sent = -math.inf
        self._awaited: list[int] = []
        self._n_shown, self._last = 0, (-(2**63), 0)
        # What has a decoder give all it holds.
        self._drain = av.Packet()
        self._drain.stream, self._drain.time_base = stream, stream.time_base

    def sift(
        self, demuxed: Iterator[av.Packet], all_progress: Sequence[Progress]
    ) -> Iterator[av.Packet]:
        """Yields the packets to decode, and other streams'; has the rest noted."""
        for packet in demuxed:
            if packet.stream_index != self._stream.index:
                yield packet
            elif packet.size:
                note(packet, all_progress)
                self._take(packet)
                yield from self._wanted()
            else:  # the end
                self._frontier = math.inf
                yield from self._wanted()
                if self._is_open():
                    # To all times that are left the last is the nearest.
                    yield from self._send(self._known[-1])
                yield packet

    def check(self, frame: Frame) -> None:
        """Takes the next frame that the decoder gives."""
        # Of interlaced video a packet may hold half a frame.
        if not frame.key_frame or frame.interlaced_frame:
            raise Unsure
        if self._awaited[:1] != [frame.pts]:
            raise Unsure
        self._awaited.clear()

    def finish(self, all_progress: Sequence[Progress]) -> Iterator[TimedFrame]:
        """Makes sure that there was one; yields where the last of all frames is."""
        if self._sent == -math.inf or self._awaited:
            raise Unsure
        for progress in all_progress:
            if progress.stream is self._stream:
                progress.n_frames = self._n_shown
                yield progress.place(*self._last)

    def _take(self, packet: av.Packet) -> None:
        pts = self._advance(packet)
        if packet.is_discard:
            return
        self._n_shown += 1
        self._last = max(self._last, (pts, packet.duration or 0))
        if packet.is_keyframe:
            if pts in self._held:
                raise Unsure
            self._held[pts] = packet
            bisect.insort(self._known, pts)

    def _wanted(self) -> Iterator[av.Packet]:
        """Yields the packets that are now known to be wanted; forgets what is not."""
        for pts in sorted(set(self._picks())):
            yield from self._send(pts)
        n_past = bisect.bisect_left(self._known, min(self._horizon(), self._frontier))
        for pts in self._known[:n_past]:
            del self._held[pts]
        del self._known[:n_past]

    def _send(self, pts: int) -> Iterator[av.Packet]:
        if pts == self._sent:
            return
        if pts < self._sent:
            raise Unsure
        self._sent = pts
        self._awaited.append(pts)
        yield self._held[pts]
        yield self._drain
        # So that the next does not miss what it never refers to.
        self._context.flush_buffers()


def sparing_of(
    streams: Iterable[Stream], origin: Fraction, timetables: Sequence[Timetable]
) -> Sparing | KeyFrames | None:
    """What leaves out, of the video among some streams, what is not wanted."""
    if not any(one.only_keys for one in timetables):
        return Sparing.of(streams, origin, timetables)
    for stream in streams:
        if stream.type == "video" and all(one.only_keys for one in timetables):
            # AVI has the order of decoding alone.
            in_avi = stream.container.format.name == "avi"
            if not (in_avi and stream.codec_context.has_b_frames):
                return KeyFrames(stream, origin, timetables)
    return None
