"""Spans that sound alike: no word of text is needed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import faiss
import numpy as np

_ITERATIONS, _TRIALS = 25, 3
_SPANS_EACH, _MOST, _LEAST = 6, 500, 3


class Cluster(NamedTuple):
    """Spans that sound alike.

    Attributes:
        members: numbers of its spans, the nearest to its middle first.
        tightness: mean cosine of its spans to its middle.
        score: tightness times the mean length of the embeddings: what says little,
            such as silence, is short.
    """

    members: list[int]
    tightness: float
    score: float


def of_spans(embeddings: np.ndarray, n_clusters: int, seed: int) -> list[Cluster]:
    """Clusters spans by spherical k-means, around the mean of all.

    Args:
        embeddings: float32 [N, D], of the spans.
        n_clusters: 0 is one for six spans, 500 at most.
        seed: of the beginning.

    Returns:
        Clusters of three spans at least, the highest score first.
    """
    n_spans = len(embeddings)
    wanted = n_clusters or min(_MOST, math.ceil(n_spans / _SPANS_EACH))
    wanted = min(wanted, n_spans)
    if wanted < 1:
        return []
    lengths = np.linalg.norm(embeddings, axis=1)
    units = np.ascontiguousarray(embeddings - embeddings.mean(axis=0), np.float32)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    means = faiss.Kmeans(
        units.shape[1],
        wanted,
        niter=_ITERATIONS,
        nredo=_TRIALS,
        seed=seed + 1,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=1 << 30,
    )
    means.train(units)
    similarity, nearest = means.index.search(units, 1)
    found = []
    for number in range(wanted):
        (members,) = np.nonzero(nearest[:, 0] == number)
        if len(members) < _LEAST:
            continue
        members = members[np.argsort(-similarity[members, 0], kind="stable")]
        tightness = float(similarity[members, 0].mean())
        score = tightness * float(lengths[members].mean())
        found.append(Cluster(members.tolist(), tightness, score))
    return sorted(found, key=lambda cluster: (-cluster.score, cluster.members))


def agreement(peaks: Sequence[Sequence[int]], activations: np.ndarray) -> np.ndarray:
    """How high the other modality stands in the clips of each dimension's peaks.

    Args:
        peaks: of each dimension the clips of its highest inputs.
        activations: float32 [n clips, D], of the other modality.

    Returns:
        float64 [D]: the mean share of clips that are lower, 0 to 1; 0.5 is chance.
    """
    order = np.argsort(activations, axis=0, kind="stable")
    ranks = np.empty(order.shape, np.int64)
    places = np.arange(len(activations))[:, np.newaxis]
    np.put_along_axis(ranks, order, np.broadcast_to(places, order.shape), 0)
    shares = ranks / max(1, len(activations) - 1)
    return np.array(
        [
            shares[list(clips), d].mean() if clips else 0.5
            for d, clips in enumerate(peaks)
        ]
    )
