"""Retrieval metrics: ranks of the matching clip, recall at k, median rank.

Plain NumPy. similarity[i, j] is audio i against visual j; A->V (an audio query) reads
rows, V->A columns.
"""

import numpy as np

CUTOFFS = (1, 5, 10)
DIRECTIONS = ("a2v", "v2a")
_CHUNK = 1024


def ranks(similarity: np.ndarray) -> np.ndarray:
    """Ranks the diagonal entry of each row of a similarity matrix (A->V).

    Args:
        similarity: float [N, N]; pass the transpose for V->A.

    Returns:
        int64 [N]; rank 1 is best. A rank counts the candidates that score at least as
        high as the match, itself included, so that ties count against the model: a
        collapsed one ranks everything last.

    Raises:
        ValueError: the matrix is not square, is empty or holds a NaN.

    Source: authors' metrics.py.
    Differs: their list of positions holds an entry for each tie, so that recall can
        pass 100 %; without ties the two are equal.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or len(set(similarity.shape)) != 1 or not similarity.size:
        raise ValueError(
            f"ranks needs a square similarity matrix, got shape {similarity.shape}."
        )
    nan_rows = np.flatnonzero(np.isnan(similarity).any(axis=1))
    if nan_rows.size:
        raise ValueError(
            f"similarity holds a NaN in {nan_rows.size} of {len(similarity)} rows, the "
            f"first is row {nan_rows[0]}."
        )
    match = np.diagonal(similarity)[:, np.newaxis]
    return np.count_nonzero(similarity >= match, axis=1)


def embedding_ranks(
    audio_embedding: np.ndarray, visual_embedding: np.ndarray
) -> dict[str, np.ndarray]:
    """Ranks the matching clip for every query in both directions, chunk by chunk.

    Args:
        audio_embedding: float [N, D].
        visual_embedding: float [N, D], row i matching audio row i.

    Returns:
        {"a2v": int64 [N], "v2a": int64 [N]}, as ranks of the similarity matrix and of
        its transpose, without that matrix.

    Raises:
        ValueError: the shapes differ, N is 0, or an embedding is not finite.
    """
    audio = np.asarray(audio_embedding, np.float32)
    visual = np.asarray(visual_embedding, np.float32)
    if audio.shape != visual.shape or audio.ndim != 2 or not len(audio):
        raise ValueError(
            f"embedding_ranks needs two [N, D] embeddings of the same shape, N > 0, "
            f"got {audio.shape} and {visual.shape}."
        )
    for name, embedding in (("audio", audio), ("visual", visual)):
        finite = np.isfinite(embedding).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{name} embedding {np.flatnonzero(~finite)[0]} of {len(finite)} is "
                f"not finite ({np.count_nonzero(~finite)} such)."
            )
    found = {direction: np.zeros(len(audio), np.int64) for direction in DIRECTIONS}
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


def recall_at_k(rank: np.ndarray, k: int, n: int | None = None) -> float:
    """The fraction of queries whose match is among the k best.

    Args:
        rank: int [N], 1 = best.
        k: cut-off.
        n: number of queries when some could not be posed and count as misses (MSR-VTT:
            1000 with 968 present); None is N.

    Raises:
        ValueError: there is no rank, or n is smaller than their number.
    """
    rank = np.asarray(rank)
    total = len(rank) if n is None else n
    if not len(rank) or total < len(rank):
        raise ValueError(f"{len(rank)} ranks for n = {total} queries.")
    return np.count_nonzero(rank <= k) / total


def median_rank(rank: np.ndarray) -> float:
    """The median of ranks (1 = best); of an even number the mean of the middle two."""
    return float(np.median(rank))


def retrieval_metrics(
    audio_embedding: np.ndarray,
    visual_embedding: np.ndarray,
    n_queries: int | None = None,
) -> dict[str, float]:
    """Summarises both directions: {"n", "a2v/R@1", ..., "v2a/MedR"}, R in percent.

    The arguments are those of embedding_ranks, and n of recall_at_k.
    """
    found = embedding_ranks(audio_embedding, visual_embedding)
    metrics: dict[str, float] = {
        "n": len(audio_embedding) if n_queries is None else n_queries
    }
    for direction in DIRECTIONS:
        for k in CUTOFFS:
            recall = recall_at_k(found[direction], k, n_queries)
            metrics[f"{direction}/R@{k}"] = 100 * recall
        metrics[f"{direction}/MedR"] = median_rank(found[direction])
    return metrics


def chance(n: int) -> dict[str, float]:
    """The expected metrics of a random ranking of n candidates."""
    metrics: dict[str, float] = {"n": n}
    for direction in DIRECTIONS:
        for k in CUTOFFS:
            metrics[f"{direction}/R@{k}"] = 100.0 * min(k, n) / n
        metrics[f"{direction}/MedR"] = (n + 1) / 2
    return metrics
