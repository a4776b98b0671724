"""Which spans of speech become clips, and of which split: the paper's rules.

Source: the cascade paper, section 3.1 (YouCook-Japanese): segments of speech of 5 to 50
s; 10k, 3k and 3k of them at random for training, validation and evaluation, a video in
one split only; what people reject leaves afterwards, without a replacement.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from data_prep.builder.segmenters import Span


@dataclasses.dataclass(frozen=True, order=True)
class VideoClip:
    """A span of a video, in seconds; the id names it in a decisions file."""

    video: str
    start_s: float
    end_s: float

    @property
    def id(self) -> str:
        """The video and the span, to hundredths of a second."""
        return f"{self.video}@{self.start_s:.2f}-{self.end_s:.2f}"


def of_length(
    spans: Iterable[Span], min_s: float, max_s: float
) -> tuple[list[Span], int, int]:
    """Keeps spans of min_s to max_s seconds.

    Returns:
        The spans; how many were too short; how many too long.
    """
    kept, n_short, n_long = [], 0, 0
    for start_s, end_s in spans:
        # To hundredths, as they are written; never beyond the end of the sound.
        start_s, end_s = round(start_s, 2), math.floor(end_s * 100 + 1e-6) / 100
        length_s = round(end_s - start_s, 2)
        if length_s < min_s:
            n_short += 1
        elif length_s > max_s:
            n_long += 1
        else:
            kept.append((start_s, end_s))
    return kept, n_short, n_long


def deal(
    groups: Sequence[Sequence[VideoClip]], wanted: Mapping[str, int], seed: int
) -> dict[str, list[VideoClip]]:
    """Deals groups of videos to splits, then draws clips from what a split has got.

    Args:
        groups: the clips of videos that must stay together.
        wanted: split -> its number of clips. With fewer clips in all, every split gets
            its share of them.
        seed: another seed, another deal.

    Returns:
        Split -> its clips, at most as many as wanted, sorted.
    """
    random = np.random.default_rng(seed)
    groups = [group for group in groups if group]
    pools: dict[str, list[VideoClip]] = {s: [] for s, n in wanted.items() if n}
    for index in random.permutation(len(groups)):
        # The one that has the least of what it is to have; of equals the largest.
        neediest = min(pools, key=lambda s: (len(pools[s]) / wanted[s], -wanted[s]))
        pools[neediest] += groups[index]
    chosen = {}
    for split, pool in pools.items():
        picks = random.permutation(len(pool))[: wanted[split]]
        chosen[split] = sorted(sorted(pool)[pick] for pick in picks)
    return chosen
