"""Retrieval metrics: ranks of the matching clip, recall at k, median rank.

Plain NumPy. similarity[i, j] is audio i against visual j; A->V (an audio query) reads
rows, V->A columns.
"""

import numpy as np

CUTOFFS = (1, 5, 10)
DIRECTIONS = ("a2v", "v2a")
_CHUNK = 1024


def ranks(
    audio_embedding: np.ndarray, visual_embedding: np.ndarray
) -> dict[str, np.ndarray]:
    """Ranks the matching clip for every query, in both directions.

    Args:
        audio_embedding: float [N, D].
        visual_embedding: float [N, D], row i matching audio row i.

    Returns:
        {"a2v": int64 [N], "v2a": int64 [N]}; rank 1 is best. A rank counts the
        candidates that score at least as high as the match, itself included, so that
        ties count against the model: a collapsed one ranks everything last.

    Raises:
        ValueError: the shapes differ, N is 0, or an embedding is not finite.

    Source: authors' metrics.py.
    Differs: the authors' list of positions holds one entry a tie, which lets recall
        pass 100 % (issue of their code; none without ties).
    """
    audio = np.asarray(audio_embedding, np.float32)
    visual = np.asarray(visual_embedding, np.float32)
    if audio.shape != visual.shape or audio.ndim != 2 or not len(audio):
        raise ValueError(
            f"ranks needs two [N, D] embeddings of the same shape with N > 0, got "
            f"{audio.shape} and {visual.shape}."
        )
    for name, embedding in (("audio", audio), ("visual", visual)):
        finite = np.isfinite(embedding).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{name} embedding {np.flatnonzero(~finite)[0]} of {len(finite)} is "
                f"not finite ({np.count_nonzero(~finite)} such)."
            )
    found = {
        "a2v": np.zeros(len(audio), np.int64),
        "v2a": np.zeros(len(audio), np.int64),
    }
    blocks = [slice(i, i + _CHUNK) for i in range(0, len(audio), _CHUNK)]
    match = np.concatenate(
        [np.diagonal(_similarity(audio[b], visual[b])) for b in blocks]
    )
    for rows in blocks:
        for columns in blocks:
            similarity = _similarity(audio[rows], visual[columns])
            found["a2v"][rows] += (similarity >= match[rows, np.newaxis]).sum(1)
            found["v2a"][columns] += (similarity >= match[columns]).sum(0)
    return found


def _similarity(audio: np.ndarray, visual: np.ndarray) -> np.ndarray:
    # The last bits of a matrix product depend on where in it an entry stands. Taken
    # in double precision and rounded to single, equal pairs score equal.
    product = audio.astype(np.float64) @ visual.astype(np.float64).T
    return product.astype(np.float32)


def summarize(rank: np.ndarray, n_queries: int | None = None) -> dict[str, float]:
    """Summarises ranks as R@1, R@5, R@10 in percent and MedR.

    Args:
        rank: int [N], 1 = best.
        n_queries: what recall is divided by when some queries could not be posed and
            count as misses (MSR-VTT: 1000 with 968 present); None is N.
    """
    rank = np.asarray(rank)
    total = n_queries or len(rank)
    if total < len(rank):
        raise ValueError(f"n_queries is {total}, but there are {len(rank)} ranks.")
    summary = {f"R@{k}": 100.0 * np.count_nonzero(rank <= k) / total for k in CUTOFFS}
    summary["MedR"] = float(np.median(rank))
    return summary


def retrieval_metrics(
    audio_embedding: np.ndarray,
    visual_embedding: np.ndarray,
    n_queries: int | None = None,
) -> dict[str, float]:
    """Summarises both directions: {"n", "a2v/R@1", ..., "v2a/MedR"}; see ranks."""
    found = ranks(audio_embedding, visual_embedding)
    metrics: dict[str, float] = {"n": n_queries or len(audio_embedding)}
    for direction in DIRECTIONS:
        for name, value in summarize(found[direction], n_queries).items():
            metrics[f"{direction}/{name}"] = value
    return metrics


def chance(n: int) -> dict[str, float]:
    """The expected metrics of a random ranking of n candidates."""
    metrics: dict[str, float] = {"n": n}
    for direction in DIRECTIONS:
        for k in CUTOFFS:
            metrics[f"{direction}/R@{k}"] = 100.0 * min(k, n) / n
        metrics[f"{direction}/MedR"] = (n + 1) / 2
    return metrics
