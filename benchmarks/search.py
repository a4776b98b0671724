"""Rows of search: a spoken query to its first ten, and a million vectors.

--n_vectors=1000000 --vector_dim=4096 is the size of the figures in docs/search.md: it
takes minutes, 17 GB in the temporary folder and 9 GB of memory.
"""

import os
import tempfile

import numpy as np
from absl import flags

from benchmarks.duel import Run, Side, compare, in_turns
from benchmarks.rows import Row
from benchmarks.steps import MODEL, QUICK_MODEL

_N_VECTORS = flags.DEFINE_integer(
    "n_vectors", 300_000, "Windows of the rows of reduced vectors.", 1000, 10**7
)
_VECTOR_DIM = flags.DEFINE_integer(
    "vector_dim", 1024, "Numbers in a vector of them.", 16, 4096
)
DEMO_MODEL = {
    "visual_dims": (1280,),
    "audio_widths": (32, 32, 64, 64, 128),
    "embedding_dim": 256,
}
_EXACT = "all products, faiss float16"


def measure(quick: bool) -> list[Row]:
    n, dim = (2000, 32) if quick else (_N_VECTORS.value, _VECTOR_DIM.value)
    rows = []
    sizes = (QUICK_MODEL, 500) if quick else (DEMO_MODEL, 100_000)
    rows += _spoken("search_latency_demo", *sizes, 3 if quick else 21)
    if not quick:
        rows += _spoken("search_latency_full", MODEL, 100_000, 11)
    with tempfile.TemporaryDirectory() as scratch:
        return rows + _vectors(scratch, n, dim, 20 if quick else 100)


def _spoken(name: str, model: dict, n: int, n_repeats: int) -> list[Row]:
    """From a WAV file to its first ten, on one core; beside the forward pass alone."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"folder": folder, "model": model, "n": n}
        with (
            Side("spoken_query", 1, **settings, work="forward") as forward,
            Side("spoken_query", 1, **settings, work="search") as search,
            Side("spoken_query", 1, **settings, work="plain") as plain,
        ):
            runs = in_turns(n_repeats, search, forward, plain)
    unreranked = 1000 * float(np.median([run["wall_s"] for run in runs[2]]))
    note = (
        f"a WAV of 10 s among {n} clips of {model['embedding_dim']} numbers, one core; "
        f"{unreranked:.1f} ms without reranking"
    )

    def ms(run: Run) -> float:
        return 1000 * run["wall_s"]

    return [compare(name, "ms", ms, *runs[:2], "the forward pass alone", note)]


def _vectors(scratch: str, n: int, dim: int, n_queries: int) -> list[Row]:
    found = [os.path.join(scratch, f"{of}.npz") for of in ("ours", "other")]
    settings = {
        "folder": os.path.join(scratch, "index"),
        "n": n,
        "dim": dim,
        "n_queries": n_queries,
    }
    with (
        Side("vectors_reduced", **settings, found=found[0], n_warm_ups=1) as ours,
        Side("vectors_exact", **settings, found=found[1], n_warm_ups=1) as other,
    ):
        facts = ours.ready
        runs = in_turns(3, ours, other)
    ids, exact = (np.load(path)["ids"] for path in found)
    recall = np.mean([np.isin(*both) for both in zip(exact, ids, strict=True)])
    note = (
        f"{n} vectors of {dim}, {n_queries} queries by audio, one at a time; "
        f"recall@10 {recall:.3f} of exact ({facts['recall']:.3f} at the build), built "
        f"in {facts['build_s']:.0f} s, opened in {facts['open_s']:.3f} s, "
        f"with a first search {facts['first_s']:.2f} s"
    )

    def ms(run: Run) -> float:
        return 1000 * run["wall_s"] / n_queries

    full_mb = n * dim * 4 / 1e6
    memory = Row(
        "vectors_memory", facts["cache_mb"], full_mb, "float32", "MB", "the cache"
    )
    return [compare("vectors_search", "ms", ms, *runs, _EXACT, note), memory]
