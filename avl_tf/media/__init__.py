"""Media files in and out: waveforms, frames and images, whatever the codec.

In come audio, video and image files of any kind FFmpeg reads; out go waveforms
(float32 [S], mono), frames (uint8 [H, W, 3], RGB) and images (uint8 [H, W, 4], RGBA).
The way back is writer.py's, whose functions are found here too. PyAV does the work,
in this process and in one thread: extraction runs a process a core.

Times are seconds on the file's clock, whose 0 is the earliest start of its audio and
video streams: sound and frames of the same time belong together.

Broken files: damage inside a file raises MediaError, and so does a file that ends
more than a second before the end it declares. Damage in the first or the last second
is a ragged edge and passes. `allow_truncated=True` reads whatever there is. A format
that declares no length (MPEG-TS, Ogg, raw MP3) cannot be seen to be cut.
"""

import math
import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation

from avl_tf.media.file import MediaError, MediaFile, TimedFrame, require_file
from avl_tf.media.writer import to_frame, write_image, write_video, write_wav

__all__ = [
    "MediaError",
    "duration_s",
    "iter_frames",
    "read_frames",
    "read_image",
    "read_waveform",
    "resize",
    "write_image",
    "write_video",
    "write_wav",
]

# Without FULL_CHR_H_INP swscale halves the colour resolution of RGB input.
_SCALING = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
# Matroska rounds times to 1 ms and live recordings jitter by more: what is below one
# log-mel hop is rounding, what is above the other bound is a broken time.
_MIN_GAP_S, _MAX_GAP_S = Fraction(1, 100), 3600
_ROUNDING_S = Fraction(2, 1000)
_FILTER_TAIL_S = Fraction(1, 10)
# Pixels nearer to square than this are a rounding of the coded size (426x240 is stored
# as 640:639); beyond the other bound the header is broken.
_MIN_STRETCH, _MAX_STRETCH = Fraction(101, 100), 4


def read_waveform(
    path: str | os.PathLike,
    sample_rate: int = 16000,
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
    start, end = _check_span(start_s, end_s)
    if sample_rate < 1:
        raise ValueError(
            f"sample_rate is {sample_rate}, expected a rate in Hz above 0."
        )
    resampler = av.AudioResampler(format="s16", layout="mono", rate=sample_rate)
    pieces = []
    with MediaFile(path, allow_truncated) as file:
        # Sound from a second before lets the filters settle. All rates have a sample
        # on a whole second, so a part of a file is, bit for bit, that part of the
        # whole (but for the noise AAC makes up). Where times are rounded (Matroska,
        # FLV) only counting from the start gives that.
        base = max(0, math.floor(start) - 1) if file.counts_samples() else 0
        for mono, rate in _unbroken_mono(file, base, end):
            frame = av.AudioFrame.from_ndarray(mono[np.newaxis], "s16", "mono")
            frame.sample_rate = rate
            pieces += resampler.resample(frame)
    pieces += resampler.resample(None)
    parts = [piece.to_ndarray()[0] for piece in pieces if piece is not None]
    samples = np.concatenate([np.zeros(0, np.int16), *parts])
    first = round(start * sample_rate) - base * sample_rate
    last = None if end is None else round(end * sample_rate) - base * sample_rate
    return samples[first:last].astype(np.float32) / 32768


def iter_frames(
    path: str | os.PathLike,
    fps: float,
    short_side: int | None = None,
    crop: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
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

    Yields:
        uint8 [H, W, 3], RGB.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: no video stream, or it is damaged (raised at the damage).
        ValueError: an argument is out of range, or crop is larger than the frame.

    Source: AVLnet section 3.1; authors' extractor, video_loader.py.
    Differs: the nearest frame, not FFmpeg's fps filter; pixels more than 1 % off square
        are made square, the authors take them as they are stored.
    """
    start, end = _check_span(start_s, end_s)
    for name, value in (("fps", fps), ("short_side", short_side), ("crop", crop)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}, expected a number above 0.")
    if crop and short_side and crop > short_side:
        raise ValueError(f"crop is {crop}, more than the short side of {short_side}.")
    require_file(path)

    def decode() -> Iterator[np.ndarray]:
        size = shown = image = None
        with MediaFile(path, allow_truncated) as file:
            stretch = file.stream("video").sample_aspect_ratio
            for timed in _nearest(file.frames("video", start), start, end, _exact(fps)):
                if size is None:
                    size = _output_size(timed.frame, stretch, short_side)
                    if crop and crop > min(size):
                        raise ValueError(
                            f"{path}: crop is {crop}, the shorter side {min(size)} "
                            "pixels. Crop less, or scale by short_side."
                        )
                if timed is not shown:
                    shown, image = timed, _to_array(timed.frame, size, "rgb24", crop)
                yield image

    return decode()


def read_frames(
    path: str | os.PathLike,
    fps: float,
    short_side: int | None = None,
    crop: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
) -> np.ndarray:
    """Decodes frames at a steady rate into one array; arguments as iter_frames.

    Returns:
        uint8 [K, H, W, 3], RGB, K > 0.

    Raises:
        MediaError: as iter_frames, and if the video ends before start_s.
    """
    frames = list(
        iter_frames(path, fps, short_side, crop, start_s, end_s, allow_truncated)
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


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image, upright by the orientation it carries.

    Returns:
        uint8 [H, W, 4], RGBA; alpha is not multiplied in, and 255 where there is none.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it cannot be decoded.
    """
    with MediaFile(path) as file:
        frame = file.picture()
        return _to_array(frame, (frame.width, frame.height), "rgba")


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales an image, bicubic; going smaller averages, without aliasing.

    Args:
        image: uint8 [H, W, 3 or 4]. Alpha is a channel like the others: multiply
            colours by it first, or transparent pixels bleed into visible ones.
        height: pixels wanted.
        width: pixels wanted.

    Returns:
        uint8 [height, width, 3 or 4].

    Raises:
        ValueError: image is of another shape or type, or a size is below 1.
    """
    frame = to_frame(image)
    if height < 1 or width < 1:
        raise ValueError(f"height is {height}, width {width}: expected 1 or more.")
    return _to_array(frame, (width, height), frame.format.name)


def _check_span(
    start_s: float, end_s: float | None
) -> tuple[Fraction, Fraction | None]:
    """Makes the limits exact; None stays None."""
    if not 0 <= start_s < math.inf or (end_s is not None and not end_s > start_s):
        raise ValueError(
            f"start_s is {start_s} and end_s {end_s}, expected 0 <= start_s < end_s."
        )
    endless = end_s is None or end_s == math.inf
    return _exact(start_s), None if endless else _exact(end_s)


def _exact(value: float) -> Fraction:
    """Returns the fraction that was meant: 0.1 is 1/10, not its binary neighbour."""
    return Fraction(value).limit_denominator(1_000_000)


def _unbroken_mono(
    file: MediaFile, base: int, end: Fraction | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Lays a file's sound out from second `base` on, with silence in its gaps.

    Yields:
        (int16 [S], rate in Hz), piece by piece, to the end of the sound or just beyond
        `end`; the rate is the stream's own and the same in all pieces.
    """
    converters = {}
    silence = np.zeros(0, np.int16)
    rate, position, held, declared = 0, 0, silence, 0
    for time, _, frame in file.frames("audio", Fraction(base)):
        rate = rate or frame.sample_rate
        # Format, channels and rate may change on the way (television recordings).
        key = frame.format.name, frame.layout.name, frame.sample_rate
        if key not in converters:
            converters[key] = av.AudioResampler(format="s16", layout="mono", rate=rate)
        mono = [part.to_ndarray()[0] for part in converters[key].resample(frame)]
        samples = np.concatenate([silence, *mono])
        gap = round((time - base) * rate) - position
        if gap > _MAX_GAP_S * rate:
            raise file.error(f"its sound jumps to {float(time):.0f} s, a broken time")
        if position and abs(gap) < _MIN_GAP_S * rate:
            gap = 0
        samples = np.pad(samples, (gap, 0)) if gap > 0 else samples[-gap:]
        position += len(samples)
        if len(held):
            yield held, rate
        held, declared = samples, round((frame.duration or 0) * frame.time_base * rate)
        if end is not None and position > (end - base + _FILTER_TAIL_S) * rate:
            break
    # AAC fills its last packet up; the container counts the samples that belong to it.
    if len(held):
        filled_up = 0 < declared < len(held) - _ROUNDING_S * rate
        yield held[:declared] if filled_up else held, rate


def _nearest(
    frames: Iterator[TimedFrame], start: Fraction, end: Fraction | None, fps: Fraction
) -> Iterator[TimedFrame]:
    """Picks the frame nearest to each of start, start + 1 / fps, ... before the end."""
    end = math.inf if end is None else end
    wanted, last = start, None
    for timed in frames:
        while last and wanted < end and wanted <= (last.time + timed.time) / 2:
            yield last
            wanted += 1 / fps
        if wanted >= end:
            return
        last = timed
    while last and wanted < min(end, last.time + last.duration):
        yield last
        wanted += 1 / fps


def _output_size(
    frame: av.VideoFrame, stretch: Fraction | None, short_side: int | None
) -> tuple[int, int]:
    """Returns (width, height) to scale a frame to, before it is turned upright."""
    width, height = frame.width, frame.height
    if stretch and _MIN_STRETCH < max(stretch, 1 / stretch) <= _MAX_STRETCH:
        width = round(width * stretch)
    if short_side is None:
        return width, height
    if width > height:
        return width * short_side // height, short_side
    return short_side, height * short_side // width


def _to_array(
    frame: av.VideoFrame, size: tuple[int, int], pixels: str, crop: int | None = None
) -> np.ndarray:
    """Scales and converts a frame, turns it upright and cuts out its centre."""
    width, height = size
    scaled = frame.reformat(width, height, pixels, interpolation=_SCALING, threads=1)
    # The angle, and not the display matrix in frame.side_data, which also tells about
    # mirroring: reading that crashes PyAV 18.1 (it frees FFmpeg's memory twice).
    image = np.rot90(scaled.to_ndarray(), round(frame.rotation / 90))
    if crop:
        top, left = ((side - crop) // 2 for side in image.shape[:2])
        image = image[top : top + crop, left : left + crop]
    # A copy: the array above looks into FFmpeg's memory.
    return np.array(image, order="C")
