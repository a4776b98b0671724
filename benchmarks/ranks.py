"""Rows of the retrieval ranks: counting, against sorting the similarity matrix."""

import os
import tempfile

import numpy as np

from benchmarks.duel import Run, Side, check_equal, compare, in_turns
from benchmarks.rows import Row

_SORTING = "sorting the matrix"


def measure(quick: bool) -> list[Row]:
    small, middle, large, dim = (
        (30, 50, 100, 8) if quick else (3350, 10_000, 100_000, 4096)
    )
    rows = [
        *_duel("ranks_3350", {"n": small, "dim": 0}, n_repeats=9),
        *_duel("ranks_10k", {"n": middle, "dim": 0}, n_repeats=5),
        *_duel("embedding_ranks_3350", {"n": small, "dim": dim}, n_repeats=5),
        *_duel("embedding_ranks_10k", {"n": middle, "dim": dim}, n_repeats=3),
    ]
    # At 100,000 of 4,096 numbers the product alone takes minutes: the demo's width.
    settings = {"n": large, "dim": min(256, dim)}
    return rows + _duel("embedding_ranks_100k", settings, 1, n_queries=large // 50)


def _duel(
    name: str, settings: dict, n_repeats: int, n_queries: int | None = None
) -> list[Row]:
    """A row of the time; if the ranks are of embeddings, one of the memory as well.

    With n_queries the other side sorts the rows of so many, and the whole is reckoned.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = [os.path.join(folder, f"{of}.npz") for of in ("ours", "other")]
        partly = {"n_queries": n_queries} if n_queries else {}
        with (
            Side("ranks_counted", **settings, found=found[0], n_warm_ups=0) as ours,
            Side(
                "ranks_sorted", **settings, **partly, found=found[1], n_warm_ups=0
            ) as other,
        ):
            runs = in_turns(n_repeats, ours, other)
        note = _check(found, settings["dim"])
    if settings["dim"]:
        note += f"; embeddings of {settings['dim']}, both directions"
    if n_queries:
        note += f"; the other's time is that of {n_queries} queries, multiplied"
    rows = [compare(name, "s", _seconds, *runs, _SORTING, note)]
    if settings["dim"] and not n_queries:
        inputs_mb = 2 * settings["n"] * settings["dim"] * 4 / 1e6
        note = f"whole process, {inputs_mb:.0f} MB of it the embeddings"
        rows.append(compare(f"{name}_memory", "MB", _peak_mb, *runs, _SORTING, note))
    return rows


def _check(found: list[str], dim: int) -> str:
    ours, other = (np.load(path)["rank"] for path in found)
    # In single precision two similarities that are nearly the same may change places.
    tolerance = 0.001 * ours.shape[1] if dim else 0
    return check_equal("ranks", ours[:, : other.shape[1]], other, tolerance)


def _seconds(run: Run) -> float:
    return run["wall_s"] / run["share"]


def _peak_mb(run: Run) -> float:
    return run["peak_mb"]
