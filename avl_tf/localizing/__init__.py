"""Where in an image a caption is: matchmaps to spans of audio with a region each.

page shows them, files writes them. No TensorFlow here.
"""

from typing import NamedTuple

import numpy as np


class Localized(NamedTuple):
    """A span of audio and the region of the image that fits it.

    Attributes:
        first, last: steps, both within.
        top, left, bottom, right: rows and columns of the map, all within.
        value: the highest of the matchmap there.
    """

    first: int
    last: int
    top: int
    left: int
    bottom: int
    right: int
    value: float


def localize(matchmap: np.ndarray, threshold: float) -> list[Localized]:
    """Finds the spans in which a matchmap is high, in the order of time.

    Args:
        matchmap: float [H, W, T], T above 0.
        threshold: of its highest value, 0 to 1.

    Returns:
        Runs of steps at which some place reaches the threshold, with the box around
        all such places; none of a map without a value above 0.
    """
    highest = matchmap.max()
    if not highest > 0:
        return []
    high = matchmap >= threshold * highest
    heard = np.concatenate([[False], high.any(axis=(0, 1)), [False]])
    edges = np.flatnonzero(heard[1:] != heard[:-1])
    found = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        rows, columns = np.nonzero(high[:, :, first:end].any(axis=2))
        found.append(
            Localized(
                first=first,
                last=end - 1,
                top=int(rows.min()),
                left=int(columns.min()),
                bottom=int(rows.max()),
                right=int(columns.max()),
                value=float(matchmap[:, :, first:end].max()),
            )
        )
    return found


class Matched(NamedTuple):
    """A caption and its image as a model matches them.

    Attributes:
        clip_id: of the clip.
        matchmap: float32 [H, W, T].
        score: their similarity.
        start_s, end_s: of the clip in the media.
        step_s: seconds a step.
        spans: see localize.
        words: (start_s, end_s, text) in the media, where that is known.
        frame, player: ways from the page to the image and the sound; "" is none.
    """

    clip_id: str
    matchmap: np.ndarray
    score: float
    start_s: float
    end_s: float
    step_s: float
    spans: list[Localized]
    words: list
    frame: str
    player: str

    def times(self, span: Localized) -> tuple[float, float]:
        """Seconds of a span in the media."""
        start, end = (
            min(self.end_s, self.start_s + step * self.step_s)
            for step in (span.first, span.last + 1)
        )
        return start, end

    def box(self, span: Localized) -> dict[str, float]:
        """Where a span's region lies, in parts of the image's sides."""
        height, width, _ = self.matchmap.shape
        return {
            "top": span.top / height,
            "left": span.left / width,
            "bottom": (span.bottom + 1) / height,
            "right": (span.right + 1) / width,
        }

    def region(self, span: Localized) -> str:
        """Box and value as a text: "top 0.21, left 0.00, ... (0.83)"."""
        box = ", ".join(f"{k} {v:.2f}" for k, v in self.box(span).items())
        return f"{box} ({span.value:.3g})"
