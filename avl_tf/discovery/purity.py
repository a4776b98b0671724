"""How pure dimensions are: what is in the inputs that excite them, by name."""

import collections
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np


class Purity(NamedTuple):
    """The most frequent label of some inputs, and the fraction that contain it.

    label: "" if no input has one. n: of inputs.
    """

    label: str
    purity: float
    n: int


class Concept(NamedTuple):
    """A dimension, labelled in both modalities."""

    dimension: int
    audio: Purity
    visual: Purity

    @property
    def mean(self) -> float:
        """The geometric mean of both purities."""
        return math.sqrt(self.audio.purity * self.visual.purity)


def of_inputs(labels: Sequence[Collection[str]]) -> Purity:
    """Labels some inputs; of equally frequent labels the first by the alphabet.

    Args:
        labels: of each input; each counts once.

    Source: AVLnet section 4.
    """
    counts = collections.Counter(label for each in labels for label in set(each))
    if not counts:
        return Purity("", 0.0, len(labels))
    label, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return Purity(label, count / len(labels), len(labels))


def rank(
    audio: Sequence[Sequence[Collection[str]]],
    visual: Sequence[Sequence[Collection[str]]],
) -> list[Concept]:
    """Labels dimensions and ranks them by their geometric mean, the best first.

    Args:
        audio, visual: of each dimension the labels of each of its inputs.
    """
    found = [
        Concept(dimension, of_inputs(heard), of_inputs(seen))
        for dimension, (heard, seen) in enumerate(zip(audio, visual, strict=True))
    ]
    return sorted(found, key=lambda concept: (-concept.mean, concept.dimension))


def means(ranked: Sequence[Concept], n: int) -> tuple[float, float, float]:
    """Mean audio purity, visual purity and geometric mean of the n best dimensions."""
    best = ranked[:n]
    values = [(c.audio.purity, c.visual.purity, c.mean) for c in best]
    audio, visual, geometric = np.mean(values, axis=0).tolist()
    return audio, visual, geometric
