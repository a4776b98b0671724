"""Decoded video frames in, upright RGB pictures at a steady rate and size out."""

import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation

from avl_tf.errors import UserError
from avl_tf.media.file import MediaFile
from avl_tf.media.orientation import mirror_and_turns
from avl_tf.media.progress import TimedFrame
from avl_tf.media.timetable import Timetable
from avl_tf.settings.limits import too_narrow

# Without FULL_CHR_H_INP swscale halves the colour resolution of RGB input.
_SCALING = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
# Pixels nearer to square than this are a rounding of the coded size (426x240 is stored
# as 640:639); beyond the other bound the header is broken.
_MIN_STRETCH, _MAX_STRETCH = Fraction(101, 100), 4


@dataclasses.dataclass(frozen=True)
class View:
    """How the frames of a video are wanted; see media.iter_frames.

    Attributes:
        fps: frames a second.
        short_side: pixels of the shorter side; None keeps the size.
        crop: pixels of the centre square cut out after that; None for no cut.
        only_keys: take the nearest key frame, as the file marks them.

    Raises:
        ValueError: one of them is out of range.
    """

    fps: float
    short_side: int | None = None
    crop: int | None = None
    only_keys: bool = False

    def __post_init__(self):
        for name in ("fps", "short_side", "crop"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} is {value}, expected a number above 0.")
        if self.crop and self.short_side and self.crop > self.short_side:
            raise UserError(
                f"crop is {self.crop}, more than the short side of {self.short_side}."
            )


class Pictures:
    """Picks the frame nearest to each of start, start + 1 / fps, ... and scales it.

    Args:
        file: where the frames come from.
        view: View.
        start: seconds.
        end: seconds; None is the end of the video.

    Attributes:
        done: no more frames are needed.
        timetable: which are; the others may be fed or not.
    """

    def __init__(
        self, file: MediaFile, view: View, start: Fraction, end: Fraction | None
    ):
        self.done = False
        self.timetable = Timetable(
            start,
            1 / exact(view.fps),
            math.inf if end is None else end,
            view.only_keys,
        )
        self._file, self._view = file, view
        self._stretch = file.stream("video").sample_aspect_ratio
        self._wanted, self._step, self._end, _ = self.timetable
        self._last: TimedFrame | None = None
        self._until_s = Fraction(0)  # of frames that are no key frames
        self._size: tuple[int, int] | None = None

    def feed(self, timed: TimedFrame) -> Iterator[np.ndarray]:
        """Takes the next frame; yields the pictures uint8 [H, W, 3] it decides on."""
        if self._view.only_keys and not (timed.frame and timed.frame.key_frame):
            self._until_s = timed.time + timed.duration
            return
        if self._last and timed.time > self._wanted:
            midway = (self._last.time + timed.time) / 2
            yield from self._until(midway, self._last.frame, inclusive=True)
            self.done = self._wanted >= self._end
        self._last = timed

    def finish(self) -> Iterator[np.ndarray]:
        """Yields what is left when no more frames come."""
        if self._last:
            end = max(self._last.time + self._last.duration, self._until_s)
            yield from self._until(end, self._last.frame)

    def _until(
        self, limit: Fraction, frame: av.VideoFrame, inclusive: bool = False
    ) -> Iterator[np.ndarray]:
        """Yields a frame for every time wanted up to a limit."""
        picture = None
        while self._wanted < self._end and (
            self._wanted < limit or (inclusive and self._wanted == limit)
        ):
            picture = self._picture(frame) if picture is None else picture
            yield picture
            self._wanted += self._step

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        view = self._view
        if self._size is None:
            size = _output_size(frame, self._stretch, view.short_side)
            if view.short_side:
                limit, coded = self._file.limits.of_videos, (frame.width, frame.height)
                self._file.refuse(limit.scaled_refusal(coded, size))
            self._size = size
            if view.crop and view.crop > min(self._size):
                raise UserError(
                    f"{self._file.path}: crop is {view.crop}, the shorter side "
                    f"{min(self._size)} pixels. Crop less, or scale by short_side."
                )
        return to_array(frame, self._size, "rgb24", view.crop)


def pick_frames(frames: np.ndarray, fps: float, view: View) -> Iterator[np.ndarray]:
    """Does to frames that are at hand what media.iter_frames does to a file's.

    Args:
        frames: uint8 [K, H, W, 3], RGB, upright.
        fps: how many of them make a second.
        view: how they are wanted.

    Yields:
        uint8 [H, W, 3]: the nearest frame to each of 0, 1 / view.fps, ... seconds.

    Raises:
        ValueError: they are too narrow to be scaled.
    """
    height, width = frames.shape[1:3]
    if view.short_side and (refusal := too_narrow(width, height)):
        raise UserError(f"{refusal}.")
    step = exact(fps) / exact(view.fps)
    for number in range(math.ceil(len(frames) / step)):
        nearest = min(math.ceil(number * step - Fraction(1, 2)), len(frames) - 1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frames[nearest]))
        size = _output_size(frame, None, view.short_side)
        yield to_array(frame, size, "rgb24", view.crop)


def exact(value: float) -> Fraction:
    """Returns the fraction that was meant: 0.1 is 1/10, not its binary neighbour."""
    return Fraction(value).limit_denominator(1_000_000)


def to_array(
    frame: av.VideoFrame,
    size: tuple[int, int] | None,
    pixels: str,
    crop: int | None = None,
) -> np.ndarray:
    """Scales a frame to (width, height), turns it upright and cuts out its centre."""
    width, height = size or (frame.width, frame.height)
    mirrored, turns = mirror_and_turns(frame)
    scaled = frame.reformat(width, height, pixels, interpolation=_SCALING, threads=1)
    del frame  # a large one need not be in memory any longer
    image: np.ndarray = scaled.to_ndarray()
    image = np.rot90(np.flipud(image) if mirrored else image, turns)
    if crop:
        top, left = ((side - crop) // 2 for side in image.shape[:2])
        image = image[top : top + crop, left : left + crop]
    # A copy: the array above looks into FFmpeg's memory.
    return np.array(image, order="C")


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
