"""Rows of avl_tf.index: CPU time beside extraction's, and one more video.

In index_cpu the other side is extraction of the same video alone, so that a ratio
of 0.9 says that an index takes a tenth more. In index_add it is the worker's time for
the video that is added to an index of 100,000 windows: what ours has more is the rest.
"""

import os
import statistics
import tempfile
import time

from avl_tf.commands.indexing import Indexer
from avl_tf.retrieval import tasks
from avl_tf.retrieval.index_settings import IndexSettings
from avl_tf.retrieval.origins import Origin
from avl_tf.retrieval.store import Store
from avl_tf.retrieval.vectors import VectorIndex
from avl_tf.settings.limits import DEFAULT_LIMITS
from benchmarks import made_index
from benchmarks.duel import Run, Side, compare, in_turns
from benchmarks.extraction import BACKBONE, SHORT, write_video
from benchmarks.rows import Row
from benchmarks.sides.index_video import make_run

DEMO = {
    "visual_dims": (1280,),
    "audio_widths": (32, 32, 64, 64, 128),
    "embedding_dim": 256,
}


def measure(quick: bool) -> list[Row]:
    seconds, n_repeats = (5, 2) if quick else (60, 7)
    with tempfile.TemporaryDirectory() as scratch:
        videos = os.path.join(scratch, "videos")
        os.makedirs(videos)
        video = os.path.join(videos, "0.mp4")
        write_video(video, seconds, **SHORT)
        return [
            _beside_extraction(video, seconds, scratch, n_repeats),
            _one_more(videos, scratch, 1000 if quick else 100_000, n_repeats),
        ]


def _beside_extraction(video: str, seconds: float, scratch: str, n_repeats: int) -> Row:
    folder = os.path.join(scratch, "cpu")
    os.makedirs(folder)
    with (
        Side("index_video", 1, video=video, model=DEMO, folder=folder) as ours,
        Side(
            "extract_video", 1, video=video, backbone=BACKBONE, folder=folder
        ) as other,
    ):
        windows = ours.ready["n_windows"]
        runs = in_turns(n_repeats, ours, other)

    def cpu_s_an_hour(run: Run) -> float:
        return run["cpu_s"] * 3600 / seconds

    note = f"one core, {windows:.0f} windows of 10 s, demo-sized model with {BACKBONE}"
    return compare(
        "index_cpu", "CPU-s an hour", cpu_s_an_hour, *runs, "extraction alone", note
    )


def _one_more(videos: str, scratch: str, n: int, n_repeats: int) -> Row:
    folder, run_dir = (os.path.join(scratch, name) for name in ("index", "run"))
    make_run(run_dir, DEMO)
    origin = Origin("videos", videos)
    wanted = IndexSettings(model=run_dir, origins=(origin,))
    runs: list[tuple[Run, Run]] = []
    with Indexer(folder, DEFAULT_LIMITS, workers=1) as indexer:
        wanted = indexer.look(wanted)
        made_index.make(folder, n, DEMO["embedding_dim"], wanted.note)
        indexer.update(wanted)  # makes the cache, and loads the CNN
        for repeat in range(n_repeats):
            number = f"{repeat + 1}.mp4"
            os.link(os.path.join(videos, "0.mp4"), os.path.join(videos, number))
            settled = wanted.windows.settled(wanted.trained_s)
            (own,) = [
                one
                for one in indexer.list(wanted, settled)[0]
                if one.source.record_id == number
            ]
            task = tasks.Task(tasks.Model(run_dir), (own,), settled)
            started = time.perf_counter()
            indexer.run(tasks.make, task)
            alone_s = time.perf_counter() - started
            started = time.perf_counter()
            indexer.update(wanted)
            with Store.open(folder) as store:
                VectorIndex.open(store, "visual")
            runs.append(
                ({"s": time.perf_counter() - started}, {"s": alone_s}),
            )
    ours, other = zip(*runs, strict=True)
    more = sorted(a["s"] - b["s"] for a, b in runs)
    note = (
        f"one video more in an index of {n} windows, opened again with it: "
        f"{statistics.median(more):.2f} s beside the worker's "
        f"({more[0]:.2f}-{more[-1]:.2f})"
    )
    return compare(
        "index_add", "s", lambda run: run["s"], ours, other, "the worker's part", note
    )
