"""The inputs that excite each dimension most, found as they stream by; NumPy only."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_SPARE = 3
_SHARE = 0.5


class Peak(NamedTuple):
    """An input that excites a dimension.

    Attributes:
        value: of the dimension.
        input: the number of the input, of all.
        before, behind: how many steps around it are excited too.
    """

    value: float
    input: int
    before: int = 0
    behind: int = 0


def local(values: np.ndarray, radius: int) -> np.ndarray:
    """Tells which steps of a clip no step around them exceeds.

    Args:
        values: float32 [T, D].
        radius: how many steps before and behind are looked at.

    Returns:
        bool [T, D]; of equal steps the first.
    """
    found = np.ones(values.shape, bool)
    for distance in range(1, min(radius, len(values) - 1) + 1):
        later, earlier = values[distance:], values[:-distance]
        found[:-distance] &= earlier >= later
        found[distance:] &= later > earlier
    return found


def extents(values: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """How far around each step its value stays above half of its own.

    Args:
        values: float32 [T, D].
        radius: the furthest that is looked at.

    Returns:
        int32 [T, D] each: how many steps before it and behind it; 0 of a value that is
        not above 0.
    """
    return _extent(values[::-1], radius)[::-1], _extent(values, radius)


def _extent(values: np.ndarray, radius: int) -> np.ndarray:
    found = np.zeros(values.shape, np.int32)
    going = values > 0
    for distance in range(1, min(radius, len(values) - 1) + 1):
        stays = values[distance:] >= _SHARE * values[:-distance]
        going[:-distance] &= stays
        going[len(values) - distance :] = False
        found += going
    return found


class Highest:
    """Keeps the highest inputs of each dimension, of all that are added.

    Args:
        k: how many are wanted in the end.
        dim: how many dimensions.
    """

    def __init__(self, k: int, dim: int):
        self._k, self._waiting = k, 0
        # Beside those wanted, some in whose place others of the same moment may be.
        self._most = _SPARE * k
        self._values = [np.zeros((0, dim), np.float32)]
        self._rows = [np.zeros((0, dim, 3), np.int32)]

    def add(
        self,
        values: np.ndarray,
        first: int,
        counted: np.ndarray | None = None,
        around: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Takes inputs.

        Args:
            values: float32 [T, D].
            first: the number of the first input, of all.
            counted: bool [T, D], which are inputs of a dimension; None is all.
            around: of each input, what extents tells.
        """
        numbers = np.arange(first, first + len(values), dtype=np.int32)
        rows = np.zeros((*values.shape, 3), np.int32)
        rows[..., 0] = numbers[:, None]
        if around is not None:
            rows[..., 1], rows[..., 2] = around
        n_kept = len(values)
        if counted is not None:
            values = np.where(counted, values, -np.inf)
            n_kept = int(counted.sum(axis=0).max(initial=0))
        values, rows = _sorted(values, rows, n_kept)
        self._values.append(values)
        self._rows.append(rows)
        self._waiting += n_kept
        if self._waiting > self._most:
            self._merge()

    def found(
        self, places: Sequence[tuple[str, float]], apart_s: float
    ) -> list[list[Peak]]:
        """The highest inputs of each dimension, no two of which are of one moment.

        Args:
            places: of each input, the recording and the second in it.
            apart_s: inputs of a recording that are nearer than this are one, the
                higher.

        Returns:
            For each dimension up to k peaks, the highest first.
        """
        self._merge()
        (values,), (rows,) = self._values, self._rows
        found = []
        for dimension in range(values.shape[1]):
            kept: list[Peak] = []
            taken: dict[str, list[float]] = {}
            for value, row in zip(
                values[:, dimension].tolist(), rows[:, dimension].tolist(), strict=True
            ):
                if value == -np.inf or len(kept) == self._k:
                    break
                recording, at_s = places[row[0]]
                others = taken.setdefault(recording, [])
                if all(abs(at_s - other) >= apart_s for other in others):
                    others.append(at_s)
                    kept.append(Peak(value, *row))
            found.append(kept)
        return found

    def _merge(self) -> None:
        values, rows = np.concatenate(self._values), np.concatenate(self._rows)
        values, rows = _sorted(values, rows, self._most)
        self._values, self._rows, self._waiting = [values], [rows], 0


def _sorted(
    values: np.ndarray, rows: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The n highest rows of each column, the highest first."""
    order = np.argsort(-values, axis=0, kind="stable")[:n]
    return (
        np.take_along_axis(values, order, 0),
        np.take_along_axis(rows, order[..., None], 0),
    )
