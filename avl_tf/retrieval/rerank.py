"""Ranks windows again by the steps of speech and of pictures, and narrows them.

A pooled embedding mixes all that is heard in a query, and all that is seen in a
window. Step by step, each moment of speech looks for the picture that fits it best.
"""

from collections.abc import Sequence

import numpy as np

# The share of the dense similarity in a score; the rest is the pooled one's. Chosen on
# the validation videos of the demo (docs/search.md has the table).
DENSE = 0.8
# So many of a query's steps have their best picture within the narrowed span.
_WITHIN = 0.8


def rerank(
    audio_steps: np.ndarray,
    visual_steps: Sequence[tuple[np.ndarray, np.ndarray]],
    spans: Sequence[tuple[float, float]],
    pooled: np.ndarray,
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Scores windows by their steps.

    The dense similarity is the mean over the audio steps of the maximum over the
    visual steps. The narrowed span is the shortest run of visual steps in which four
    fifths of these maxima lie, the earliest of several.

    Args:
        audio_steps: float32 [T', D].
        visual_steps: of each of N windows float [K, D], and the seconds at which they
            begin; K may be 0, and differ.
        spans: of the windows, seconds.
        pooled: float32 [N], their scores.

    Returns:
        Scores float32 [N], and the narrowed spans; a window without visual steps keeps
        both.

    Source: Harwath et al. 2018 (Jointly Discovering Visual Objects and Spoken Words),
        the similarity MISA: max over the image, mean over the audio.
    Differs: over time steps of a video, each through the whole head; mixed with the
        pooled similarity.
    """
    sizes = [len(steps) for steps, _ in visual_steps]
    if not sum(sizes):
        return pooled, list(spans)
    every = np.concatenate([steps for steps, _ in visual_steps]).astype(np.float32)
    similarity = audio_steps @ every.T
    scores, narrowed = np.array(pooled, np.float32), list(spans)
    begin = 0
    for index, (size, (_, times_s)) in enumerate(zip(sizes, visual_steps, strict=True)):
        if size:
            own = similarity[:, begin : begin + size]
            dense = own.max(axis=1).mean()
            scores[index] = (1 - DENSE) * pooled[index] + DENSE * dense
            narrowed[index] = _narrow(own.argmax(axis=1), times_s, spans[index])
        begin += size
    return scores, narrowed


def _narrow(
    best: np.ndarray, times_s: np.ndarray, span: tuple[float, float]
) -> tuple[float, float]:
    first, behind = shortest_run(np.bincount(best, minlength=len(times_s)), _WITHIN)
    ends_s = [*times_s[1:], span[1]]
    start_s = max(span[0], float(times_s[first]))
    end_s = min(span[1], float(ends_s[behind - 1]))
    return (start_s, end_s) if start_s < end_s else span


def shortest_run(counts: np.ndarray, share: float) -> tuple[int, int]:
    """The shortest [first, behind) that holds a share of all counts, the earliest."""
    sums = np.concatenate([[0], np.cumsum(counts)])
    wanted = share * sums[-1]
    firsts = np.arange(len(counts))
    behind = np.searchsorted(sums, sums[:-1] + wanted)
    lengths = np.where(behind <= len(counts), behind - firsts, len(counts) + 1)
    first = int(np.argmin(lengths))
    return first, int(behind[first])
