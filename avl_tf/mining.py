"""Pairs of clips that say alike in two languages, found by their embeddings alone."""

from collections.abc import Iterator

import numpy as np

from avl_tf.errors import UserError

_ROWS = 512


def mutual_pairs(
    first: np.ndarray, second: np.ndarray, n_neighbours: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds clips that are each other's best by margin.

    The margin of a pair is its cosine over the mean cosine of both to their
    n_neighbours nearest in the other language: a clip that is near to everything is
    near to nothing in particular.

    Args:
        first: float [N, D], embeddings of one language's clips.
        second: float [M, D], of the other's.
        n_neighbours: of each clip; at most the clips there are.

    Returns:
        int64 [P] indices into first and into second, and float64 [P] the margins,
        highest first. A clip is in one pair at most.

    Raises:
        ValueError: the widths differ, a side is empty, or an embedding has no length.

    Source: Artetxe and Schwenk 2019 (Margin-based Parallel Corpus Mining with
        Multilingual Sentence Embeddings), ratio margin, intersection.
    Differs: their sentences are of text; of equals the first is the best.
    """
    if not (first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1]):
        raise UserError(
            f"mutual_pairs needs embeddings [N, D] and [M, D], got {first.shape} and "
            f"{second.shape}."
        )
    if not (len(first) and len(second)):
        raise UserError("mutual_pairs needs at least one clip of each language.")
    first, second = _unit(first), _unit(second)
    density = [
        _mean_of_nearest(ours, theirs, n_neighbours)
        for ours, theirs in ((first, second), (second, first))
    ]
    best_of_first, margin = _best(first, second, *density)
    best_of_second, _ = _best(second, first, *density[::-1])
    index = np.arange(len(first))
    mutual = index[best_of_second[best_of_first] == index]
    order = mutual[np.argsort(-margin[mutual], kind="stable")]
    return order, best_of_first[order], margin[order]


def _unit(embeddings: np.ndarray) -> np.ndarray:
    embeddings = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    good = np.isfinite(length[:, 0]) & (length[:, 0] > 0)
    if not good.all():
        raise UserError(
            f"embedding {np.argmin(good)} of {len(good)} has no direction: it is zero "
            "or not finite."
        )
    return embeddings / length


def _mean_of_nearest(ours: np.ndarray, theirs: np.ndarray, n: int) -> np.ndarray:
    """The mean cosine of each of ours to its n nearest of theirs, float64 [N]."""
    n = min(n, len(theirs))
    nearest = [
        np.partition(ours[rows] @ theirs.T, len(theirs) - n, axis=1)[:, -n:]
        for rows in _blocks(len(ours))
    ]
    return np.concatenate(nearest).mean(axis=1)


def _best(
    ours: np.ndarray, theirs: np.ndarray, density: np.ndarray, their_density: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best of theirs for each of ours, and its margin."""
    best, margins = [], []
    for rows in _blocks(len(ours)):
        around = (density[rows, np.newaxis] + their_density) / 2
        # Of clips that point away from all others a ratio would say the contrary.
        margin = ours[rows] @ theirs.T / np.maximum(around, 1e-3)
        best.append(margin.argmax(axis=1))
        margins.append(margin.max(axis=1))
    return np.concatenate(best), np.concatenate(margins)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))
