"""HowTo100M's captions: what was said when, by video.

In: caption.pickle or .json, {VIDEO: {"start": [...], "end": [...], "text": [...]}}, or
start,end,text in DIR/VIDEO.csv. Times are in seconds.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from avl_tf.errors import UserError
from avl_tf.torch_weights import read_torch_file
from data_prep.annotations import read_json, read_table

_COLUMNS = ("start", "end", "text")


@dataclasses.dataclass(frozen=True)
class Captions:
    """Captions of all videos, or the folder of a csv each; by_video holds csv names."""

    by_video: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    folder: str | None = None

    def of(self, video: str) -> list[tuple[float, float, str]]:
        """(start, end, text) of a video, in seconds; none if it has no captions.

        Raises:
            ValueError, OSError: they are in another form.
        """
        if video not in self.by_video:
            return []
        try:
            if self.folder is not None:
                path = os.path.join(self.folder, f"{video}.csv")
                rows = read_table(path, _COLUMNS)
                columns = [[row[name] for row in rows] for name in _COLUMNS]
            else:
                columns = [self.by_video[video][name] for name in _COLUMNS]
            # A caption without words is a NaN in theirs.
            return [
                (float(start), float(end), text if isinstance(text, str) else "")
                for start, end, text in zip(*columns, strict=True)
            ]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"the captions of {video} are not lists of start, end and text: "
                f"{type(error).__name__}: {error}"
            ) from error


def read_captions(path: str) -> Captions:
    """Reads caption.pickle, or that as .json; ValueError if it is something else."""
    value = read_json(path) if path.endswith(".json") else read_torch_file(path)
    if not isinstance(value, dict) or not value:
        raise UserError(
            f"{path}: expected a dictionary of captions by video, got an empty one or "
            f"a {type(value).__name__}."
        )
    return Captions(value)


def find_captions(folder: str) -> Captions:
    """Finds the csv files of a folder; FileNotFoundError if there are none."""
    names = os.listdir(folder)
    videos = [n.removesuffix(".csv") for n in names if n.endswith(".csv")]
    if not videos:
        raise FileNotFoundError(f"{folder}: no VIDEO.csv in it.")
    return Captions(dict.fromkeys(videos), folder)


def extended(
    captions: list[tuple[float, float, str]], min_s: float
) -> list[tuple[float, float, str]]:
    """Makes a clip of each caption, extended to a length by its neighbours.

    A caption shorter than min_s takes in the neighbour that keeps it shorter, again
    and again until it is long enough or the video has no more. A clip drawn from the
    result at random is thus a clip as the authors draw it; short captions side by side
    give the same clip, which counts several times.

    Args:
        captions: (start_s, end_s, text) of one video, in order.
        min_s: seconds.

    Returns:
        (start_s, end_s, text), one for each caption that begins before it ends.

    Source: authors' youtube_dataloader.py (min_time = 10).
    Differs: the text is in the order of speech; theirs is in the order of extension.
    """
    clips = []
    for index in range(len(captions)):
        first = last = index
        while captions[last][1] - captions[first][0] < min_s:
            earlier = first > 0 and captions[last][1] - captions[first - 1][0]
            later = (
                last + 1 < len(captions) and captions[last + 1][1] - captions[first][0]
            )
            if earlier is False and later is False:
                break
            if later is False or (earlier is not False and earlier <= later):
                first -= 1
            else:
                last += 1
        start_s, end_s = captions[first][0], captions[last][1]
        if 0 <= start_s < end_s:
            texts = (text for _, _, text in captions[first : last + 1])
            clips.append((start_s, end_s, " ".join(filter(None, texts))))
    return clips
