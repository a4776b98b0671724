"""How large a picture and how long a span may be: a header can claim any number."""

import dataclasses
import re
from fractions import Fraction

from avl_tf.settings import setting

# What FFmpeg's decoders log about a size beyond the limit they were given.
TOO_LARGE = "exceeds specified max pixel count"
_PADDING = 64 * 65_536
# Scaled by its shorter side, a narrow strip grows beyond all bounds. The longest
# panoramas are some ten times as wide as high.
MOST_TIMES = 100
_SIZE = re.compile(rf"(\d+)x(\d+) (?:{TOO_LARGE}|exceeds limit|is invalid)")


@dataclasses.dataclass(frozen=True)
class PixelLimit:
    """One of the limits, with the flag that moves it."""

    megapixels: int
    flag: str

    @property
    def for_decoders(self) -> str:
        """FFmpeg's max_pixels: it counts those by which lines are made longer too."""
        return str(self.megapixels * 1_000_000 + _PADDING)

    def refusal(self, width: int, height: int) -> str | None:
        """Says what is wrong with a picture of this size; None if nothing is."""
        if width * height <= self.megapixels * 1_000_000:
            return None
        return (
            f"a picture of {width:,} x {height:,} pixels, more than the "
            f"{self.megapixels} million of --{self.flag}: scale it down, or allow more"
        )

    def scaled_refusal(
        self, size: tuple[int, int], scaled: tuple[int, int]
    ) -> str | None:
        """Says what is wrong with scaling a picture's (width, height) to another."""
        return too_narrow(*size) or self.refusal(*scaled)

    def refusal_of(self, said: str) -> str | None:
        """The same of what FFmpeg has said; None if it is about something else."""
        size = _SIZE.search(said)
        return self.refusal(*map(int, size.groups())) if size else None


@dataclasses.dataclass(frozen=True)
class Limits:
    """The largest that is decoded; what is larger is an error of its file.

    An image takes about 11 bytes a pixel while it is read; the largest cameras that
    are common have 100 million. Of a video up to 17 pictures are in memory at once, at
    1.5 bytes a pixel and more; 8K has 33 million.
    """

    max_megapixels: int = setting(
        100,
        "Images of more pixels than so many millions are refused (11 bytes of memory a "
        "pixel are needed).",
        lower=1,
    )
    max_video_megapixels: int = setting(
        36,
        "Videos of more pixels a picture than so many millions are refused (8K has 33; "
        "up to 25 bytes of memory a pixel are needed).",
        lower=1,
    )
    max_seconds: int = setting(
        86_400,
        "Recordings, or spans of one, of more seconds are refused: 32 kB a second wait "
        "for their end, on the disk in extraction. The default is a day.",
        lower=1,
    )

    @property
    def of_images(self) -> PixelLimit:
        """The limit of still images."""
        return PixelLimit(self.max_megapixels, "max_megapixels")

    @property
    def of_videos(self) -> PixelLimit:
        """The limit of a video's pictures."""
        return PixelLimit(self.max_video_megapixels, "max_video_megapixels")

    def length_refusal(self, seconds: float | Fraction) -> str | None:
        """Says what is wrong with a span of this length; None if nothing is."""
        if seconds <= self.max_seconds:
            return None
        return (
            f"{float(seconds):,.0f} s of it are asked for, more than the "
            f"{self.max_seconds:,} of --max_seconds: give a span of it, or allow more"
        )


DEFAULT_LIMITS = Limits()


def too_narrow(width: int, height: int) -> str | None:
    """Says why a picture is not scaled by its shorter side; None if it can be."""
    if max(width, height) <= MOST_TIMES * min(width, height):
        return None
    return (
        f"a picture of {width:,} x {height:,} pixels: its longer side is more than "
        f"{MOST_TIMES} times the shorter, by which it is scaled"
    )
