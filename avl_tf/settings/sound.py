"""Which sound of a file is meant, where it has several."""

import dataclasses
import re

from avl_tf.errors import UserError

# More digits than FFmpeg's count of tracks can have; Python reads no more than 4300.
_LONGEST_NUMBER = 9
_TRACK = rf"\s*(\d{{1,{_LONGEST_NUMBER}}}\s*$|[^\W\d_])"


def check_audio_track(value: int | str | None) -> None:
    """ValueError if a value names no track: neither a number nor a language."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    number = whole and value in range(10**_LONGEST_NUMBER)
    text = isinstance(value, str) and re.match(_TRACK, value)
    if not (value is None or number or text):
        raise UserError(
            f"audio_track is {value!r:.80}, expected a number, counted from 0 among "
            "the audio tracks, or a language tag such as sw."
        )


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which sound of a file is meant; ValueError if audio_track cannot be one.

    Attributes:
        language: what is spoken, as in a manifest (sw, swa, Swahili); "und" if that is
            not known. A wish: without a track that says so, another is taken.
        audio_track: a number, counted from 0 among the audio tracks (FFmpeg's 0:a:N;
            also as text), or the language tag of the track. An order: a file without
            such a track is an error.
    """

    language: str = "und"
    audio_track: int | str | None = None

    def __post_init__(self):
        check_audio_track(self.audio_track)

    @property
    def number(self) -> int | None:
        """audio_track, if it is a number."""
        text = str(self.audio_track).strip()
        return int(text) if text.isdecimal() else None
