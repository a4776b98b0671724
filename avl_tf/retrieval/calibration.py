"""What a score means: whether a query fits anything, and how often such a hit is right.

Made of validation queries whose clip is known. A score is a dot product of embeddings
that have no unit norm, so that it may first be divided by the query's, or seen
against the scores that a fixed sample of the index gets from the same query. By these
a query that is unlike all validation queries (noise, a tone, another kind of speech) is
known too: what holds for them says nothing of it.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

KINDS = ("raw", "norm", "sample")
_FIRST = 10


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a query's scores are measured by.

    norm: of its embedding. mean, deviation: of the scores of a sample of the index.
    """

    norm: float
    mean: float
    deviation: float

    def unit(self, kind: str) -> tuple[float, float]:
        """Shift and size: a measured score is (score - shift) / size."""
        if kind == "norm":
            return 0.0, max(self.norm, 1e-12)
        if kind == "sample":
            return self.mean, max(self.deviation, 1e-12)
        return 0.0, 1.0


@dataclasses.dataclass(frozen=True)
class Asked:
    """A validation query: the scores of moments of other recordings, best first.

    own is the score of the clip that fits it.
    """

    others: np.ndarray
    own: float
    scale: Scale


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What scores mean.

    threshold: of scores, above which a hit is a match. precisions: of the hits.
    is_known: the query is like the validation queries; else the others say nothing.
    """

    threshold: float
    precisions: list[float]
    is_known: bool


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What is kept in the index.

    Attributes:
        kind: how scores are measured, one of KINDS.
        n_windows: in the index when it was made.
        null: the best measured scores of queries that nothing fits, largest first.
        levels, precisions: measured scores, smallest first, and from each on the share
            of hits that were right, with one more that was not.
        ranges: of the norms, means and deviations of the queries, a tenth wider.
        power: the share of queries whose own clip would be called a match, at 0.1.
    """

    kind: str
    n_windows: int
    null: tuple[float, ...]
    levels: tuple[float, ...]
    precisions: tuple[float, ...]
    ranges: tuple[tuple[float, float], ...]
    power: float

    @classmethod
    def of_json(cls, value: Any) -> "Calibration":
        """The inverse of dataclasses.asdict; KeyError or TypeError of another's."""
        if value["kind"] not in KINDS:
            raise KeyError(value["kind"])
        lists = {key: tuple(value[key]) for key in ("null", "levels", "precisions")}
        lists["ranges"] = tuple(tuple(one) for one in value["ranges"])
        return cls(**{**value, **lists})

    def judge(
        self,
        scores: Sequence[float],
        scale: Scale,
        n_windows: int,
        error_rate: float,
    ) -> Verdict:
        """Says what scores mean.

        Args:
            scores: of hits.
            scale: of their query.
            n_windows: in the index now. If it has grown r times, the best of what
                fits nothing exceeds a score up to r times as often (the union bound,
                of windows that are like those before): the threshold rises with it.
            error_rate: of queries that fit nothing, at most this share is a match.

        Returns:
            The verdict; its threshold is infinite if there were too few queries for
            such an error rate. That of a query that is not known is to be no match: so
            fewer are one than the error rate says.

        Source: Vovk et al. 2005 (Algorithmic Learning in a Random World), split
            conformal: a score above all but k of n exchangeable ones has a p-value of
            (k + 1) / (n + 1).
        """
        shift, size = scale.unit(self.kind)
        grown = max(1.0, n_windows / max(1, self.n_windows))
        threshold = _threshold(self.null, error_rate / grown)
        measured = (np.asarray(scores, np.float64) - shift) / size
        at = np.searchsorted(self.levels, measured, "right") - 1
        found = [self.precisions[max(0, place)] for place in at]
        is_known = all(
            low <= one <= high
            for one, (low, high) in zip(_values(scale), self.ranges, strict=True)
        )
        return Verdict(threshold * size + shift, found, is_known)


def fit(asked: Sequence[Asked], n_windows: int) -> Calibration:
    """Makes a calibration of validation queries; measured in the way that tells best.

    That is by which a query's own clip is most often above the best of another query
    that nothing fits.

    Raises:
        ValueError: there are no queries.
    """
    if not asked:
        raise ValueError("no validation queries")
    kind = max(KINDS, key=lambda one: _area(*_measured(asked, one)))
    null, own = _measured(asked, kind)
    scores, right = [], []
    for one in asked:
        shift, size = one.scale.unit(kind)
        first = np.sort(np.append(one.others, one.own))[::-1][:_FIRST]
        scores += ((first - shift) / size).tolist()
        right += (first == one.own).tolist()
    levels, shares, sizes = isotonic(np.array(scores), np.array(right, float))
    # Of three hits that were all right the next is so with less than certainty.
    cautious = np.array(shares) * sizes / (np.array(sizes) + 1)
    precisions = np.maximum.accumulate(cautious).tolist()
    descending = tuple(np.sort(null)[::-1].tolist())
    power = float(np.mean(own > _threshold(descending, 0.1)))
    values = np.array([_values(one.scale) for one in asked])
    low, high = values.min(axis=0), values.max(axis=0)
    margin = 0.1 * (high - low)
    ranges = tuple(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))
    return Calibration(
        kind, n_windows, descending, tuple(levels), tuple(precisions), ranges, power
    )


def isotonic(
    x: np.ndarray, y: np.ndarray
) -> tuple[list[float], list[float], list[float]]:
    """The step function that grows with x and is nearest to y: pool adjacent violators.

    Args:
        x, y: float [N], N > 0.

    Returns:
        From which x on, smallest first; which value; of how many points it is the mean.

    Source: Ayer et al. 1955 (An Empirical Distribution Function for Sampling with
        Incomplete Information).
    """
    blocks: list[list[float]] = []  # first x, mean of y, how many
    for value in np.unique(x):
        same = y[x == value]
        blocks.append([float(value), float(same.mean()), len(same)])
        while len(blocks) > 1 and blocks[-2][1] >= blocks[-1][1]:
            _, mean, n = blocks.pop()
            last = blocks[-1]
            last[1] = (last[1] * last[2] + mean * n) / (last[2] + n)
            last[2] += n
    return tuple(list(column) for column in zip(*blocks, strict=True))  # type: ignore


def _values(scale: Scale) -> tuple[float, float, float]:
    return scale.norm, scale.mean, scale.deviation


def _threshold(null: Sequence[float], error_rate: float) -> float:
    """What a score must exceed for a p-value of error_rate; null largest first."""
    k = math.floor(error_rate * (len(null) + 1) + 1e-9) - 1
    return null[k] if k >= 0 else math.inf


def _measured(asked: Sequence[Asked], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each query the best score of what does not fit, and that of its own clip."""
    pairs = []
    for one in asked:
        shift, size = one.scale.unit(kind)
        worst = one.own if not len(one.others) else one.others.max()
        pairs.append(((worst - shift) / size, (one.own - shift) / size))
    null, own = np.array(pairs).T
    return null, own


def _area(null: np.ndarray, own: np.ndarray) -> float:
    """How often one of own is above one of null: the area under the ROC."""
    return float(np.mean(own[:, np.newaxis] > null))
