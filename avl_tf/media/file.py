"""One media file opened for reading: its streams, its clock and its damage.

A path comes in, decoded frames with exact times come out.

Second 0 of a file is the earliest start of its audio and video streams, so a stream
that starts late starts late here too, and sound and frames share one clock. Encoder
priming is dropped as FFmpeg drops it (edit lists, skip samples).
"""

import contextlib
import os
from collections.abc import Collection, Container, Iterator, Sequence
from fractions import Fraction

import av
from av.stream import Discard, Disposition

from avl_tf.media import formats, opening, packets, tracks
from avl_tf.media.joined import Tags
from avl_tf.media.key_frames import sparing_of
from avl_tf.media.lengths import Lengths
from avl_tf.media.opening import MediaError, Note
from avl_tf.media.packets import Kind, Stream
from avl_tf.media.progress import Progress, TimedFrame, frames_around
from avl_tf.media.timetable import Timetable, Unsure
from avl_tf.media.tracks import ANY, Track, Wanted
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits, PixelLimit

# Seeks go this far before the wanted time: room for a decoder to warm up, and a second
# try where a seek lands between keyframes (MPEG-TS).
_RUN_UPS_S = (2, 12)


class MediaFile:
    """A file opened for reading; a context manager.

    Args:
        path: the file.
        allow_truncated: decode what there is of a damaged file, without an error.
        limits: how large its pictures may be.
        notes: takes what is worth telling of the file, each thing once.
        wanted: which sound is meant.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: FFmpeg cannot open it, or finds neither audio nor video in it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        allow_truncated: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        notes: list[Note] | None = None,
        wanted: Wanted = ANY,
    ):
        self.path = os.fspath(path)
        self.limits = limits
        self._notes = [] if notes is None else notes
        self._wanted = wanted
        self._chosen: dict[Kind, Stream] = {}
        self._allow_truncated = allow_truncated
        self._container, logs = opening.open_container(self.path, limits.of_videos)
        self._streams = [
            stream
            for stream in self._container.streams
            if stream.type in ("audio", "video")
            and not stream.disposition & Disposition.attached_pic
        ]
        if not self._streams:
            self._container.close()
            raise self.error("neither audio nor video in it")
        self._lengths = Lengths(self.path, self._container, self._streams, logs, limits)
        self._origin = self._lengths.origin

    def __enter__(self) -> "MediaFile":
        return self

    def __exit__(self, _, error: BaseException | None, __) -> None:
        self._container.close()
        if isinstance(error, av.FFmpegError):
            raise self.error("cannot be converted", error.strerror) from error

    def error(self, what: str, reason: str | None = None) -> MediaError:
        """Makes the error that says what is wrong with this file, and why."""
        return opening.media_error(self.path, what, reason)

    def refuse(self, refusal: str | None) -> None:
        """Raises MediaError if there is something to say against this file."""
        if refusal:
            raise self.error(refusal)

    def note(self, kind: str, text: str) -> None:
        """Notes what is worth telling of this file."""
        if (one := Note(kind, text)) not in self._notes:
            self._notes.append(one)

    def stream(self, kind: Kind) -> Stream:
        """Returns the "audio" or "video" stream that is meant; see tracks.

        Raises:
            MediaError: there is none.
        """
        if kind not in self._chosen:
            self._chosen[kind] = stream = self._choose(kind)
            stream.codec_context.thread_count = 1
        return self._chosen[kind]

    def _choose(self, kind: Kind) -> Stream:
        found = [stream for stream in self._streams if stream.type == kind]
        known = [stream for stream in found if stream.codec_context is not None]
        if not known:
            raise self.error(f"no {'decoder for its ' * bool(found)}{kind} stream")
        if kind == "audio":
            try:
                number, note = tracks.choose(*self.sounds(), self._wanted)
            except LookupError as error:
                raise self.error(str(error.args[0])) from error
            stream = self._container.streams.audio[number]
        else:
            heard = None
            with contextlib.suppress(MediaError):  # that is for who listens
                heard = self.stream("audio")
            stream, note = tracks.choose_pictures(
                self.path, self.limits, self._container, known, heard
            )
        if note:
            self.note(*note)
        return stream

    def sounds(self) -> tuple[list[Track], int | None]:
        """Describes the audio tracks; and the number of FFmpeg's best."""
        return tracks.describe_sounds(self._container)

    def has_sound(self) -> bool:
        """Tells whether there is an audio stream."""
        return any(stream.type == "audio" for stream in self._streams)

    def has_pictures(self) -> bool:
        """Tells whether there is a video stream, or an image."""
        return any(stream.type == "video" for stream in self._streams)

    def is_image(self) -> bool:
        """Tells whether the file is one picture, as a sequence of one .jpg is."""
        named = self._container.format.name.endswith(formats.PICTURES)
        one = len(self._streams) == 1 and not self.has_sound()
        return one and (named or self._streams[0].frames == 1)

    def duration(self) -> Fraction:
        """Returns the end of the longest stream in seconds; see media.duration_s."""
        return self._lengths.whole()

    def sound_end(self) -> Fraction:
        """Returns where the sound ends in seconds; MediaError if there is none."""
        return self._lengths.end(self.stream("audio"))

    def require_length(self, start: Fraction, end: Fraction | None) -> None:
        """Raises MediaError if a span is longer than that, by what is declared."""
        until = max(self._lengths.all_declared(), default=Fraction(0))
        length = (until if end is None else min(until, end)) - start
        if not self._allow_truncated:
            self.refuse(self.limits.length_refusal(length))

    def picture(self) -> av.VideoFrame:
        """Decodes the one picture of an image file; MediaError at any damage."""
        stream, limit = self.stream("video"), self.limits.of_images
        self._bound(stream, limit)
        demuxed = packets.demux(self._container, [stream])
        while True:
            packet, frames, problem = packets.next_frames(
                demuxed, [stream.index], packets.TORN
            )
            self.refuse(limit.refusal_of(problem))
            if problem or packet is None:
                raise self.error("its image cannot be decoded", problem)
            if frames:
                self.refuse(limit.refusal(frames[0].width, frames[0].height))
                return frames[0]

    def frames(
        self,
        kinds: Collection[Kind],
        start: Fraction = Fraction(0),
        finished: Container[str] = (),
        timetables: Sequence[Timetable] = (),
    ) -> Iterator[tuple[str, TimedFrame]]:
        """Decodes one or both streams in one pass, each in the order of presentation.

        Args:
            kinds: "audio", "video" or both.
            start: seconds; what is shown or heard at it always comes, some before may.
            finished: kinds of which no more is wanted; the caller may add to it on the
                way. They are neither decoded nor judged any further.
            timetables: which frames of the video are wanted, if not all; others may be
                left out, and damage in them passes.

        Yields:
            The kind and the frame.

        Raises:
            MediaError: there is no such stream, or it is damaged.
            Unsure: not all are wanted, but all must be decoded.
        """
        streams = [self.stream(kind) for kind in kinds]
        if start <= _RUN_UPS_S[0] or self._lengths.is_joined:
            yield from self._decode(streams, finished, timetables)
            return
        # Keyframes are video's matter: sound follows wherever video leads.
        leading = max(streams, key=lambda stream: stream.type)
        for run_up in _RUN_UPS_S:
            target = round((start - run_up + self._origin) / leading.time_base)
            try:
                self._container.seek(target, stream=leading)
            except av.FFmpegError:
                break
            frames = self._decode(streams, finished, timetables, sought=True)
            if head := frames_around(start, frames, set(kinds)):
                yield from head
                yield from frames
                return
        with self._again() as fresh:
            streams = [fresh.stream(kind) for kind in kinds]
            yield from fresh._decode(streams, finished, timetables)

    def _again(self) -> "MediaFile":
        opened_as = self._allow_truncated, self.limits, self._notes, self._wanted
        return MediaFile(self.path, *opened_as)

    def _decode(
        self,
        streams: list[Stream],
        finished: Container[str] = (),
        timetables: Sequence[Timetable] = (),
        sought: bool = False,
    ) -> Iterator[tuple[str, TimedFrame]]:
        """Decodes from where the file stands to its end, on the watch for damage."""
        lengths, limit = self._lengths, self.limits.of_videos
        read = streams if all(map(lengths.has_own, streams)) else self._streams
        for other in self._container.streams:
            other.discard = Discard.default if other in read else Discard.all
        for stream in streams:
            self._bound(stream, limit)
        demuxed = packets.demux(self._container, read)
        all_progress = [Progress(stream, lengths, sought) for stream in streams]
        if sparing := sparing_of(streams, self._origin, timetables):
            demuxed = sparing.sift(demuxed, all_progress)
        marks = ("",) if sparing else packets.CONCEALED
        tags = Tags() if lengths.counts_frames else None
        more = True
        while more:
            active = [p for p in all_progress if p.stream.type not in finished]
            indices = [p.stream.index for p in active]
            packet, frames, problem = packets.next_frames(demuxed, indices, marks)
            more = packet is not None
            if sparing and problem:
                raise Unsure
            self.refuse(limit.refusal_of(problem))
            if tags and packet is not None and tags.has(packet):
                problem = ""
            # What is wrong with no stream's packet in particular concerns them all.
            index = None if packet is None else packet.stream_index
            its_own = [p for p in active if p.stream.index == index]
            for progress in active:
                if packet is not None:
                    progress.note_packet(packet)
                if problem and progress in (its_own or active):
                    progress.note_damage(packet, problem)
                if progress.damage:
                    self._refuse(*progress.damage, progress.end)
            for frame in frames:
                (progress,) = its_own
                if progress.stream.type == "video":
                    self.refuse(limit.refusal(frame.width, frame.height))
                    if sparing:
                        sparing.check(frame)
                yield progress.stream.type, progress.note_frame(frame)
        if sparing and "video" not in finished:
            yield from (("video", one) for one in sparing.finish(all_progress))
        for progress in all_progress:
            if (kind := progress.stream.type) in finished:
                continue
            if progress.last is None and not sought:
                raise self.error(f"nothing in its {kind} stream can be decoded")
            if kind == "video" and progress.n_frames == 1 and self.has_sound():
                self.note(*tracks.ONE_PICTURE)
            if progress.is_cut():
                self._refuse(progress.reached, "the file seems cut", progress.end)

    def _bound(self, stream: Stream, limit: PixelLimit) -> None:
        """Raises MediaError for pictures that are too large; has the decoder do so."""
        context = stream.codec_context
        if stream.type == "video":
            self.refuse(limit.refusal(context.width, context.height))
            context.options = {"max_pixels": limit.for_decoders}

    def _refuse(self, at: Fraction, reason: str, end: Fraction) -> None:
        """Raises the error for a file that decodes to `at`, unless that is allowed."""
        if not self._allow_truncated:
            of_all = f" of {float(end):.1f} s" if end else ""
            raise self.error(f"decodes only to {float(at):.1f} s{of_all}", reason)
