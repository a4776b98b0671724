"""Rows of data_prep.extract: its CPU time, its bytes, and what a second worker gives.

In extract_cpu the other side is what cannot be had for less: FFmpeg's decoding and
scaling and the CNN, called directly. So the ratio is the share of extraction's CPU time
that goes there, and below 1.
"""

import os
import tempfile
import time

import numpy as np

from avl_tf import media
from avl_tf.audio import AudioConfig
from benchmarks.duel import Run, Side, check_equal, compare, in_turns
from benchmarks.rows import Row
from data_prep import workers
from data_prep.extraction import ExtractionConfig, ShardTask
from data_prep.manifest import Recording

BACKBONE = "efficientnet_lite0"
_HEIGHT, _WIDTH, _FPS, _SOUND_HZ = 360, 640, 25, 44100


def measure(quick: bool) -> list[Row]:
    seconds = 5 if quick else 60
    with tempfile.TemporaryDirectory() as scratch:
        video = os.path.join(scratch, "video.mp4")
        _write_video(video, seconds)
        return [
            *_against_the_floor(video, seconds, scratch, 2 if quick else 7),
            _two_workers(video, scratch, 1 if quick else 3),
        ]


def _against_the_floor(
    video: str, seconds: float, scratch: str, n_repeats: int
) -> list[Row]:
    found = [os.path.join(scratch, f"{of}.npz") for of in ("ours", "other")]
    settings = {"video": video, "backbone": BACKBONE}
    with (
        Side("extract_video", n_cores=1, **settings, found=found[0]) as ours,
        Side("decode_and_cnn", n_cores=1, **settings, found=found[1]) as other,
    ):
        features = [np.load(path)["features_2d"] for path in found]
        equal = check_equal("features", *features, 1e-3)
        runs = in_turns(n_repeats, ours, other)
        start_up = f"start-up {ours.ready['prepare_s']:.0f} s"
    decoding = np.median([run["decode_s"] / run["cpu_s"] for run in runs[1]])
    note = (
        f"{equal}; one core, a video of {_WIDTH} x {_HEIGHT} at {_FPS} frames a "
        f"second; {100 * decoding:.0f} % of the other side is decoding; {start_up}"
    )
    config = AudioConfig()
    kept_by_authors = 3600 * (2 * config.sample_rate + 4 * features[0].shape[1])

    def cpu_s_an_hour(run: Run) -> float:
        return run["cpu_s"] * 3600 / seconds

    return [
        compare(
            "extract_cpu",
            "CPU-s an hour",
            cpu_s_an_hour,
            *runs,
            "decoding and CNN alone",
            note,
        ),
        Row(
            "extract_bytes",
            runs[0][0]["n_bytes"] * 3600 / seconds / 1e6,
            kept_by_authors / 1e6,
            "wav and float32 features",
            "MB an hour",
        ),
    ]


def _two_workers(video: str, scratch: str, n_repeats: int) -> Row:
    """A row of the time of two workers and of one, both started and warm."""
    config = ExtractionConfig(BACKBONE, "", "", "")
    runs: dict[int, list[Run]] = {2: [], 1: []}
    with workers.Workers(2) as two, workers.Workers(1) as one:
        for repeat in range(n_repeats + 1):
            for n_workers, pool in ((2, two), (1, one)):
                tasks = [
                    ShardTask(
                        scratch,
                        f"all-{i:05d}-of-00004.tfrecord",
                        tuple(Recording(f"{i}-{j}", video) for j in range(2)),
                        config,
                    )
                    for i in range(4)
                ]
                started = time.perf_counter()
                for _ in pool.make_shards(tasks):
                    pass
                if repeat:  # the first one loads the CNN
                    wall_s = time.perf_counter() - started
                    runs[n_workers].append({"wall_s": wall_s})
    return compare(
        "extract_two_workers",
        "s",
        lambda run: run["wall_s"],
        runs[2],
        runs[1],
        "one worker",
        f"without start-up; {workers.n_cores()} cores, 4 shards of 2 videos",
    )


def _write_video(path: str, seconds: int) -> None:
    """A camera moves over a landscape of blots, with a little noise."""
    random = np.random.default_rng(0)
    blots = random.integers(0, 256, (60, 100, 3), np.uint8)
    landscape = media.resize(blots, 2 * _HEIGHT, 2 * _WIDTH)

    def frames():
        for i in range(seconds * _FPS):
            y = int(_HEIGHT / 2 * (1 + np.sin(i / 60)))
            x = int(_WIDTH / 2 * (1 + np.cos(i / 75)))
            view = landscape[y : y + _HEIGHT, x : x + _WIDTH]
            yield view // 2 + random.integers(0, 3, (_HEIGHT, _WIDTH, 1), np.uint8)

    waveform = random.normal(0, 0.1, seconds * _SOUND_HZ).astype(np.float32)
    media.write_video(path, frames(), _FPS, waveform, _SOUND_HZ)
