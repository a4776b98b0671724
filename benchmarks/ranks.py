"""Rows of the retrieval ranks: counting, against sorting the similarity matrix."""

import contextlib
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
    # At 100,000 of 4,096 numbers the product alone takes minutes: the demo's width.
    of_large = {"n": large, "dim": min(256, dim)}
    beside = not quick  # So few are ranked without TensorFlow.
    of_middle = {"n": middle, "dim": dim}
    return [
        *_duel("ranks_3350", {"n": small, "dim": 0}, 9),
        *_duel("ranks_10k", {"n": middle, "dim": 0}, 5),
        *_duel("embedding_ranks_3350", {"n": small, "dim": dim}, 5, beside, n_bare=5),
        *_duel("embedding_ranks_10k", of_middle, 3, beside, n_bare=2),
        *_duel("embedding_ranks_100k", of_large, 1, beside, n_queries=large // 50),
    ]


def _duel(
    name: str,
    settings: dict,
    n_repeats: int,
    with_tensorflow: bool = False,
    n_queries: int | None = None,
    n_bare: int = 0,
) -> list[Row]:
    """A row of the time, and n_bare times also where TensorFlow is not.

    There the memory is measured as well. With n_queries the other side sorts the rows
    of so many, and the whole is reckoned.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as sides:

        def side(of: str, **more) -> Side:
            found.append(os.path.join(folder, f"{len(found)}.npz"))
            given = {**settings, **more, "found": found[-1], "n_warm_ups": 0}
            return sides.enter_context(Side(of, **given))

        found: list[str] = []
        ours = side("ranks_counted", with_tensorflow=with_tensorflow)
        (bare,) = in_turns(n_bare, side("ranks_counted")) if n_bare else ([],)
        other = side("ranks_sorted", **({"n_queries": n_queries} if n_queries else {}))
        runs, of_other = in_turns(n_repeats, ours, other)
        note = _check(found, settings["dim"])
    if settings["dim"]:
        note += f"; embeddings of {settings['dim']}, both directions"
    if n_queries:
        note += f"; the other's time is that of {n_queries} queries, multiplied"
    rows = [compare(name, "s", _seconds, runs, of_other, _SORTING, note)]
    if n_bare:
        of_bare = bare, of_other, _SORTING
        alone = f"{note}; without TensorFlow in the process"
        rows.append(compare(f"{name}_numpy", "s", _seconds, *of_bare, alone))
        inputs_mb = 2 * settings["n"] * settings["dim"] * 4 / 1e6
        whole = f"whole process, {inputs_mb:.0f} MB of it the embeddings, no TensorFlow"
        rows.append(compare(f"{name}_memory", "MB", _peak_mb, *of_bare, whole))
    return rows


def _check(found: list[str], dim: int) -> str:
    ours, *more, other = (np.load(path)["rank"] for path in found)
    for same in more:
        check_equal("ranks with TensorFlow and without", ours, same, 0)
    # In single precision two similarities that are nearly the same may change places.
    tolerance = 0.001 * ours.shape[1] if dim else 0
    return check_equal("ranks", ours[:, : other.shape[1]], other, tolerance)


def _seconds(run: Run) -> float:
    return run["wall_s"] / run["share"]


def _peak_mb(run: Run) -> float:
    return run["peak_mb"]
