"""Media files in and out: waveforms, frames and images, whatever the codec.

In come audio, video and image files of any kind FFmpeg reads; out go waveforms
(float32 [S], mono), frames (uint8 [H, W, 3], RGB) and images (uint8 [H, W, 4], RGBA).
`decode` gives sound and frames in one pass over a file. The way back is writer.py's,
whose functions are found here too. PyAV does the work, in this process and in one
thread: extraction runs a process a core.

Times are seconds on the file's clock, whose 0 is the earliest start of its audio and
video streams: sound and frames of the same time belong together.

Broken files: damage inside a file raises MediaError, and so does a file that ends
more than a second before the end it declares. Damage in the first or the last second
is a ragged edge and passes. `allow_truncated=True` reads whatever there is. A format
that declares no length (MPEG-TS, Ogg, raw MP3) cannot be seen to be cut.
"""

import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from avl_tf.errors import UserError
from avl_tf.media.file import MediaFile
from avl_tf.media.limits import DEFAULT_LIMITS, Limits, too_narrow
from avl_tf.media.opening import MediaError, Note, require_file
from avl_tf.media.packets import Kind
from avl_tf.media.pictures import Pictures, View, exact, pick_frames
from avl_tf.media.sound import SAMPLE_RATE, Sound, first_second
from avl_tf.media.stills import orientation, read_image, resize
from avl_tf.media.writer import write_image, write_video, write_wav

__all__ = [
    "DEFAULT_LIMITS",
    "SAMPLE_RATE",
    "Limits",
    "MediaError",
    "Note",
    "View",
    "decode",
    "duration_s",
    "has_sound",
    "is_image",
    "iter_frames",
    "orientation",
    "pick_frames",
    "read_frames",
    "read_image",
    "read_waveform",
    "resize",
    "too_narrow",
    "write_image",
    "write_video",
    "write_wav",
]

# Where sound must be counted from the start of a file, pictures further on than this
# are sought in a pass of their own.
_NEAR_S = 3


def decode(
    path: str | os.PathLike,
    sample_rate: int | None,
    views: Sequence[View] = (),
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    notes: list[Note] | None = None,
) -> Iterator[tuple[int | None, np.ndarray]]:
    """Decodes the sound and the frames of a file in one pass, a little at a time.

    Args:
        path: a file with sound if sample_rate is given, with video if views are.
        sample_rate: Hz; None for no sound.
        views: how the frames are wanted; each frame is decoded once for all of them.
        start_s, end_s, allow_truncated: as read_waveform and iter_frames.
        limits: how large the pictures may be.
        notes: takes what is worth telling of the file, each thing once.

    Yields:
        (None, int16 [S]): the next samples of what read_waveform returns, times 32768.
        (i, uint8 [H, W, 3]): the next frame of what iter_frames yields for views[i].

    Raises:
        As read_waveform and iter_frames, MediaError for damage when it is reached.
    """
    start, end = _check_span(start_s, end_s)
    if sample_rate is not None and sample_rate < 1:
        raise UserError(f"sample_rate is {sample_rate}, expected a rate in Hz above 0.")
    require_file(path)
    opened_as = allow_truncated, limits, notes
    return _decode(path, sample_rate, views, start, end, opened_as)


def _decode(path, sample_rate, views, start, end, opened_as):
    with MediaFile(path, *opened_as) as file:
        begin = Fraction(first_second(file, start)) if sample_rate else start
        if not (sample_rate and views and start - begin > _NEAR_S):
            yield from _decode_file(file, begin, sample_rate, views, start, end)
            return
    yield from _decode(path, sample_rate, (), start, end, opened_as)
    yield from _decode(path, None, views, start, end, opened_as)


def _decode_file(file, begin, sample_rate, views, start, end):
    sinks: dict[Kind, list[tuple[int | None, Sound | Pictures]]] = {}
    if sample_rate:
        sinks["audio"] = [(None, Sound(file, sample_rate, start, end))]
    if views:
        pictures = [Pictures(file, view, start, end) for view in views]
        sinks["video"] = list(enumerate(pictures))
    finished: set[Kind] = set()
    for kind, timed in file.frames(list(sinks), begin, finished):
        for index, sink in sinks[kind]:
            for array in sink.feed(timed):
                yield index, array
        if all(sink.done for _, sink in sinks[kind]):
            finished.add(kind)
            if len(finished) == len(sinks):
                break
    for index, sink in (pair for pairs in sinks.values() for pair in pairs):
        for array in sink.finish():
            yield index, array


def read_waveform(
    path: str | os.PathLike,
    sample_rate: int = SAMPLE_RATE,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
) -> np.ndarray:
    """Reads the sound of an audio or video file.

    Channels are mixed by FFmpeg's downmix in 16 bits, whose weights sum to 1: a sound
    that is the same in all channels keeps its level (5.1's low frequency channel does
    not take part).

    Args:
        path: a file with sound; of several audio streams FFmpeg's "best" is read.
        sample_rate: Hz.
        start_s: where to start, seconds.
        end_s: where to stop, seconds; None, or a time beyond the sound, is its end.
        allow_truncated: return what can be decoded of a damaged file.

    Returns:
        float32 [S] in [-1, 1]; sample k is at start_s + k / sample_rate. A late start
        of the stream and gaps in it are silence. S = 0 if the sound ends before
        start_s.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: no audio stream, or it is damaged.
        ValueError: sample_rate is not positive, or not 0 <= start_s < end_s.
    """
    parts = decode(path, sample_rate, (), start_s, end_s, allow_truncated)
    samples = np.concatenate([np.zeros(0, np.int16), *(part for _, part in parts)])
    return samples.astype(np.float32) / 32768


def iter_frames(
    path: str | os.PathLike,
    fps: float,
    short_side: int | None = None,
    crop: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[np.ndarray]:
    """Decodes frames at a steady rate, a few in memory at a time.

    The k-th frame is the one nearest in time to start_s + k / fps (of two equally near
    ones the earlier), for all such times before the end. Frames are upright and their
    pixels square; all have the size of the first. One that serves several times comes
    as the same array, which is therefore not to be written to.

    Args:
        path: a file with video; cover art is not video.
        fps: frames a second wanted, whatever the rate of the video.
        short_side: pixels of the shorter side; the longer one keeps the aspect ratio,
            rounded down. None keeps the size.
        crop: pixels of the centre square to cut out after that; None for no cut.
        start_s: time of the first frame, seconds.
        end_s: the end, seconds; None, or a time beyond the video, is the video's end.
        allow_truncated: yield what can be decoded of a damaged file.
        limits: how large the pictures may be, and what they are scaled to.

    Yields:
        uint8 [H, W, 3], RGB.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: no video stream, too large pictures, or damage (raised where it is).
        ValueError: an argument is out of range, or crop is larger than the frame.

    Source: AVLnet section 3.1; authors' extractor, video_loader.py.
    Differs: the nearest frame, not FFmpeg's fps filter; pixels more than 1 % off square
        are made square, the authors take them as they are stored.
    """
    views = [View(fps, short_side, crop)]
    frames = decode(path, None, views, start_s, end_s, allow_truncated, limits)
    return (frame for _, frame in frames)


def read_frames(
    path: str | os.PathLike,
    fps: float,
    short_side: int | None = None,
    crop: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> np.ndarray:
    """Decodes frames at a steady rate into one array; arguments as iter_frames.

    Returns:
        uint8 [K, H, W, 3], RGB, K > 0.

    Raises:
        MediaError: as iter_frames, and if the video ends before start_s.
    """
    frames = list(
        iter_frames(
            path, fps, short_side, crop, start_s, end_s, allow_truncated, limits
        )
    )
    if not frames:
        raise MediaError(f"{path}: no frame of video from {start_s} s on.")
    return np.stack(frames)


def duration_s(path: str | os.PathLike) -> float:
    """Returns the time at which the last of a file's audio and video streams ends.

    As the file declares it; if it declares nothing, or FFmpeg would guess from the bit
    rate, all packets are read, which takes longer but no decoding.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: neither audio nor video in it.
    """
    with MediaFile(path) as file:
        return float(file.duration())


def has_sound(path: str | os.PathLike) -> bool:
    """Tells whether a file has an audio stream; raises as duration_s."""
    with MediaFile(path) as file:
        return file.has_sound()


def is_image(path: str | os.PathLike) -> bool:
    """Tells whether a file is one picture, not a video; raises as duration_s."""
    with MediaFile(path) as file:
        return file.is_image()


def _check_span(
    start_s: float, end_s: float | None
) -> tuple[Fraction, Fraction | None]:
    """Makes the limits exact; None stays None."""
    if not 0 <= start_s < math.inf or (end_s is not None and not end_s > start_s):
        raise UserError(
            f"start_s is {start_s} and end_s {end_s}, expected 0 <= start_s < end_s."
        )
    return exact(start_s), None if end_s in (None, math.inf) else exact(end_s)
