"""How long the clips of a set are, and how much of each is heard."""

import math

import numpy as np

from avl_tf.dataset import Records, plain_sets
from avl_tf.records import record_index
from avl_tf.wording import counted

# What is heard of a clip at most, unless more is asked for: the authors' for YouCook2.
LONGEST_S = 51.2
# Behind the longest clip. The default encoder reaches 4.2 s ahead, into the padding:
# with as much of it, an embedding is the same however long the other clips are.
_PADDING_S = 5.0
_FRAME_S = 0.01


def of_set(records: Records, annotated: bool = True) -> np.ndarray:
    """Reads off the seconds of every clip, or of every record: float64 [N].

    Of a joined set, those of one language behind those of the other.
    """
    parts = [record_index.lengths(one, annotated) for one in plain_sets(records)]
    lengths = np.concatenate(parts)
    return lengths[np.isfinite(lengths)]


def heard_s(lengths: np.ndarray, asked_s: float) -> float:
    """Seconds that clips are padded or cut to.

    Args:
        lengths: of the set's clips, in seconds.
        asked_s: --evaluation_clip_s; 0 is the longest clip and 5 s of padding, 51.2 s
            at most.
    """
    if asked_s:
        return asked_s
    longest = max(lengths, default=LONGEST_S)
    return min(LONGEST_S, math.ceil(100 * (longest + _PADDING_S)) / 100)


def count(lengths: np.ndarray, clip_s: float) -> tuple[int, int]:
    """Counts the clips that are longer than clip_s and cut, and those padded to it."""
    n_cut = np.count_nonzero(lengths > clip_s + _FRAME_S)
    return n_cut, np.count_nonzero(lengths < clip_s - _FRAME_S)


def summary(name: str, lengths: np.ndarray, clip_s: float) -> str:
    """One line: how long a set's clips are, and how much of them is heard."""
    if not len(lengths):
        return f"{name}: the lengths of its clips are not known."
    shortest, longest = lengths.min(), lengths.max()
    clips = counted(len(lengths), "clip")
    span = f"{shortest:.1f} to {longest:.1f} s"
    if f"{shortest:.1f}" == f"{longest:.1f}":
        span = f"{longest:.1f} s"
    n_cut, n_padded = count(lengths, clip_s)
    if not n_cut:
        return f"{name}: {clips} of {span}, heard whole."
    return (
        f"{name}: {clips} of {span}, of which the first {clip_s:g} s are heard: "
        f"{n_cut} of {len(lengths)} are longer than {clip_s:g} s and cut, {n_padded} "
        "shorter and padded."
    )
