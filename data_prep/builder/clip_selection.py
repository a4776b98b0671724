"""Which spans of speech become clips, and of which split: the paper's rules.

Source: the cascade paper, section 3.1 (YouCook-Japanese): segments of speech of 5 to 50
s; 10k, 3k and 3k of them at random for training, validation and evaluation, a video in
one split only; what people reject leaves afterwards, without a replacement.
Differs: a video's split is its own, whatever other videos there are, so that a corpus
    can grow. Of few clips more than needed, a split may get less than it wants.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from avl_tf.manifest.findings import Finding
from data_prep import splits
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
    groups: Sequence[Sequence[VideoClip]],
    wanted: Mapping[str, int],
    seed: int,
    kept: Mapping[str, str] | None = None,
    notes: list[Finding] | None = None,
) -> dict[str, list[VideoClip]]:
    """Deals groups of videos to splits, then draws clips from what a split has got.

    Both by hashes (data_prep/splits.py): more videos move none of the others, and
    replace few of the clips that are drawn.

    Args:
        groups: the clips of videos that must stay together.
        wanted: split -> its number of clips at most, and so its share of the videos.
        seed: another seed, another deal.
        kept: video -> the split that it has already, which it keeps.
        notes: as in splits.deal, of videos.

    Returns:
        Split -> its clips, at most as many as wanted, sorted. With fewer groups than
        splits, the largest splits are filled, or those of `kept`.
    """
    kept = kept or {}
    groups = [group for group in groups if group]
    videos = [sorted({clip.video for clip in group}) for group in groups]
    chosen: dict[str, list[VideoClip]] = {s: [] for s, n in wanted.items() if n}
    held = {kept.get(video) for group in videos for video in group}
    first = sorted(chosen, key=lambda split: (split not in held, -wanted[split]))
    total = sum(wanted[split] for split in first[: len(groups)])
    shares = {split: wanted[split] / total for split in first[: len(groups)]}
    for group, split in zip(
        groups, splits.deal(videos, shares, seed, kept, notes=notes), strict=True
    ):
        chosen[split] += group
    for split, pool in chosen.items():
        pool.sort(key=lambda clip: splits.place(seed, clip.id))
        chosen[split] = sorted(pool[: wanted[split]])
    return chosen
