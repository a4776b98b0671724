"""Which of a file's tracks are meant: descriptions of streams in, one of them out.

All that listens or looks chooses here, so that what is checked is what is extracted.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Disposition

from avl_tf.media import languages, opening, packets
from avl_tf.media.opening import Note
from avl_tf.media.packets import Stream
from avl_tf.settings.limits import Limits
from avl_tf.settings.sound import Wanted

# What is not the sound of the recording itself.
_EXTRAS = {
    Disposition.comment: "commentary",
    Disposition.visual_impaired: "audio description",
    Disposition.descriptions: "audio description",
    Disposition.hearing_impaired: "for the hard of hearing",
    Disposition.karaoke: "karaoke",
    Disposition.clean_effects: "effects",
}


# Of covers; also of videos, which have more frames.
_STILL_CODECS = ("mjpeg", "png", "bmp", "webp", "gif", "tiff", "jpeg2000")
_LOOKED_AT_S = 60
ONE_PICTURE = Note("one picture", "its video is one picture, as a cover is")

# Nothing is known of what is spoken.
ANY = Wanted()


@dataclasses.dataclass(frozen=True)
class Track:
    """What a stream says of itself.

    Attributes:
        number: from 0 among the tracks of its kind.
        language: its tag as it is in the file, "" for none.
        title: its title, "" for none.
        default: the file says that it is to be taken.
        extras: what it is, if not the recording's own sound ("commentary").
        decodable: there is a decoder for it.
    """

    number: int
    language: str = ""
    title: str = ""
    default: bool = False
    extras: tuple[str, ...] = ()
    decodable: bool = True

    def __str__(self) -> str:
        more = [f"'{self.title}'"] if self.title else []
        more += ["default"] * self.default + [*self.extras]
        more += [] if self.decodable else ["no decoder"]
        named = f"{self.number} {self.language or 'without a language'}"
        return named + (f" ({', '.join(more)})" if more else "")


def describe(stream: Stream, number: int) -> Track:
    """Describes a stream of a container that is open."""
    # Vorbis comments are in capitals.
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    extras = [text for flag, text in _EXTRAS.items() if stream.disposition & flag]
    return Track(
        number,
        " ".join(tags.get("language", "").split()),
        " ".join(tags.get("title", "").split())[:40],
        bool(stream.disposition & Disposition.default),
        tuple(dict.fromkeys(extras)),
        stream.codec_context is not None,
    )


def choose(
    tracks: Sequence[Track], best: int | None, wanted: Wanted
) -> tuple[int, Note | None]:
    """Chooses the audio track that is meant.

    It is the one of wanted.audio_track; else the one in wanted.language; else, and of
    several, the recording's own before commentaries and the like, then the default one,
    then FFmpeg's best.

    Args:
        tracks: all audio tracks of a file; one at least can be decoded.
        best: the number of FFmpeg's best; None if it has none.
        wanted: Wanted.

    Returns:
        The number of the track, and a note if that could have been another, or is in
        another language by its tag.

    Raises:
        LookupError: there is no track wanted.audio_track; says which there are.
    """

    def preference(track: Track) -> tuple:
        return bool(track.extras), not track.default, track.number != best, track.number

    known = sorted((one for one in tracks if one.decodable), key=preference)
    listed = ", ".join(map(str, tracks))
    if wanted.audio_track is not None:
        named = _alike(tracks, str(wanted.audio_track))
        if wanted.number is not None:
            named = [one for one in tracks if one.number == wanted.number]
        found = [one for one in known if one in named]
        if not found:
            state = "cannot be decoded" if named else "is not there"
            raise LookupError(
                f"its audio track {wanted.audio_track} {state}: there are {listed}"
            )
        if len(found) > 1:
            return _several(found, listed)
        return found[0].number, None
    tags = {languages.code(one.language) for one in known} - {""}
    spoken = languages.code(wanted.language)
    if found := _alike(known, wanted.language):
        return _several(found, listed)
    if not (spoken and tags):
        return _several(known, listed)
    chosen = known[0]
    if len(tracks) > 1:
        text = f"no track says {wanted.language}: {chosen} is taken of {listed}"
        return chosen.number, Note("other language", text)
    text = f"its only track says {chosen.language}, not {wanted.language}"
    return chosen.number, Note("tagged otherwise", text)


def choose_video(
    sizes: Mapping[int, int], n_frames: Mapping[int, int], best: int | None
) -> tuple[int, Note | None]:
    """Chooses the video track that is meant: FFmpeg's best, but no cover.

    Args:
        sizes: pixels of each video track that can be decoded, by its number.
        n_frames: how many frames each has, as far as it was looked at.
        best: the number of FFmpeg's best; None if it has none.

    Returns:
        The number of the track, and a note if there were others, or if it is a picture.
    """
    moving = [number for number in sizes if n_frames.get(number, 2) > 1]
    fitting = moving or list(sizes)
    chosen = max(fitting, key=lambda one: (one == best, sizes[one], -one))
    if not moving:
        return chosen, ONE_PICTURE
    if len(moving) > 1:
        text = f"video track {chosen} is taken of {len(moving)}"
        return chosen, Note("several videos", text)
    return chosen, None


def describe_sounds(container: InputContainer) -> tuple[list[Track], int | None]:
    """Describes the audio tracks of a container; and the number of FFmpeg's best."""
    streams = container.streams.audio
    if not streams:
        return [], None
    seen = container.streams.best("video") if len(streams) > 1 else None
    # Of several programs of a television recording the one that is seen.
    best = container.streams.best("audio", related=seen)
    numbers = {stream.index: number for number, stream in enumerate(streams)}
    described = [describe(stream, number) for number, stream in enumerate(streams)]
    return described, None if best is None else numbers[best.index]


def choose_pictures(
    path: str,
    limits: Limits,
    container: InputContainer,
    streams: Sequence[Stream],
    heard: Stream | None,
) -> tuple[Stream, Note | None]:
    """Chooses the video stream of a file.

    Args:
        path: the file.
        limits: of the file, should it be opened once more.
        container: it, opened.
        streams: those of video that can be decoded and are not said to be a cover.
        heard: the audio stream that is chosen; None if there is none.
    """
    n_frames = {stream.index: stream.frames for stream in streams if stream.frames}
    # FFmpeg takes one picture to last as long as the file.
    still = streams[0].codec_context.name in _STILL_CODECS or (
        streams[0].duration and not streams[0].frames
    )
    if len(streams) > 1 or (heard and still):
        # Matroska and MPEG-TS do not say how many there are, AVI may say it wrongly.
        n_frames |= _count_frames(path, limits, [stream.index for stream in streams])
    best = container.streams.best("video", related=heard)
    sizes = {stream.index: stream.width * stream.height for stream in streams}
    index, note = choose_video(sizes, n_frames, None if best is None else best.index)
    return container.streams[index], note if heard or len(streams) > 1 else None


def _count_frames(
    path: str, limits: Limits, indices: Collection[int]
) -> dict[int, int]:
    """Counts the frames of streams, up to 2 each, in the first minute of a file."""
    counts = dict.fromkeys(indices, 0)
    begins: dict[int, Fraction] = {}
    container, _ = opening.open_container(path, limits.of_videos)
    with container:
        try:
            for packet in packets.demux(container, list(container.streams)):
                index = packet.stream_index
                if index in counts and packet.size:
                    counts[index] += 1
                if packet.pts is not None:
                    at = packet.pts * packet.time_base
                    if at - begins.setdefault(index, at) > _LOOKED_AT_S:
                        break
                if min(counts.values()) > 1:
                    break
        except av.FFmpegError:  # told where it is decoded
            pass
    return counts


def _alike(tracks: Sequence[Track], language: str) -> list[Track]:
    """The tracks of a language: those of its region, if there are any."""
    # Television has tracks of two languages, one a channel: "eng,fra".
    degrees = [
        max(
            languages.likeness(tag, language) for tag in re.split("[,;/]", one.language)
        )
        for one in tracks
    ]
    highest = max(degrees, default=0)
    return [
        one
        for one, degree in zip(tracks, degrees, strict=True)
        if degree and degree == highest
    ]


def _several(found: Sequence[Track], listed: str) -> tuple[int, Note | None]:
    chosen = found[0]
    if len(found) == 1:
        return chosen.number, None
    return chosen.number, Note("several tracks", f"{chosen} is taken of {listed}")
