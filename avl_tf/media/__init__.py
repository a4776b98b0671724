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
is a ragged edge and passes, and so does damage in pictures that `decode` is allowed to
leave out (`sparing`; extraction does). `allow_truncated=True` reads whatever there is.
A format that declares no length (MPEG-TS, Ogg, raw MP3) cannot be seen to be cut.
"""

import os
from collections.abc import Iterator

import numpy as np

from avl_tf.media.decoding import collect, decode
from avl_tf.media.file import MediaFile
from avl_tf.media.opening import MediaError, Note
from avl_tf.media.pictures import View, pick_frames
from avl_tf.media.sound import MAX_RATE_HZ, MIN_RATE_HZ
from avl_tf.media.stills import orientation, read_image, read_on_white, resize
from avl_tf.media.tracks import Wanted
from avl_tf.media.writer import write_image, write_sound, write_video, write_wav
from avl_tf.settings.audio import SAMPLE_RATE
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits, too_narrow

__all__ = [
    "DEFAULT_LIMITS",
    "MAX_RATE_HZ",
    "MIN_RATE_HZ",
    "SAMPLE_RATE",
    "Limits",
    "MediaError",
    "Note",
    "View",
    "Wanted",
    "collect",
    "decode",
    "duration_s",
    "has_pictures",
    "has_sound",
    "is_image",
    "iter_frames",
    "orientation",
    "pick_frames",
    "read_frames",
    "read_image",
    "read_on_white",
    "read_waveform",
    "resize",
    "too_narrow",
    "write_image",
    "write_sound",
    "write_video",
    "write_wav",
]


def read_waveform(
    path: str | os.PathLike,
    sample_rate: int = SAMPLE_RATE,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
    language: str = "und",
    audio_track: int | str | None = None,
) -> np.ndarray:
    """Reads the sound of an audio or video file.

    Channels are mixed by FFmpeg's downmix in 16 bits, whose weights sum to 1: a sound
    that is the same in all channels keeps its level (5.1's low frequency channel does
    not take part). Of a span that does not survive this, the sound is read anew:
    where the channels cancel, the loudest of them is taken; samples that exceed full
    scale, or have more than 16 bits and are quiet, are scaled to a peak of 0.5.

    Args:
        path: a file with sound.
        sample_rate: Hz.
        start_s: where to start, seconds.
        end_s: where to stop, seconds; None, or a time beyond the sound, is its end.
        allow_truncated: return what can be decoded of a damaged file.
        language: of several audio tracks the one in this language is read, if there is
            one; else the default one.
        audio_track: the one that is read, whatever the language; see Wanted.

    Returns:
        float32 [S] in [-1, 1]; sample k is at start_s + k / sample_rate. A late start
        of the stream and gaps in it are silence. S = 0 if the sound ends before
        start_s.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: no audio stream or audio_track, it is damaged, a sample is no finite
            number, its rate is not 4 to 384 kHz, or the span longer than a day.
        ValueError: sample_rate is not positive, or not 0 <= start_s < end_s.

    Differs: the authors' sox mixes to a plain average, of float and of opposite
        channels too; the level says nothing, as the log-mel is relative.
    """
    wanted = Wanted(language, audio_track)
    parts = decode(
        path, sample_rate, (), start_s, end_s, allow_truncated, wanted=wanted
    )
    return collect(parts).astype(np.float32) / 32768


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
    return (frame for _, frame in frames if frame is not None)


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


def has_pictures(path: str | os.PathLike) -> bool:
    """Tells whether a file is a video or an image; raises as duration_s."""
    with MediaFile(path) as file:
        return file.has_pictures()


def is_image(path: str | os.PathLike) -> bool:
    """Tells whether a file is one picture, not a video; raises as duration_s."""
    with MediaFile(path) as file:
        return file.is_image()
