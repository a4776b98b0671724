"""Rows of data_prep.extract: CPU time, bytes, memory, and what a second worker gives.

In extract_cpu the other side is FFmpeg's decoding of all frames, scaling and the CNN,
called directly; extract_decoding and extract_cnn have one of the two alone. Ours leaves
out frames that no feature needs, and so can take less than the other side.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from unittest import mock

import av
import numpy as np
import tensorflow as tf

from avl_tf import media, records
from avl_tf.audio import AudioConfig
from avl_tf.manifest import Recording
from avl_tf.offspring import n_cores
from avl_tf.settings.extraction import ExtractionConfig
from benchmarks.duel import Run, Side, check_equal, compare, in_turns
from benchmarks.rows import Row
from data_prep import workers
from data_prep.shard_tasks import ShardTask

BACKBONE = "efficientnet_lite0"
SHORT = {"height": 360, "width": 640, "fps": 25, "sound_hz": 44100}
# What a worker keeps does not depend on this one's frames, but on how long it lasts.
_LONG = {"height": 90, "width": 160, "fps": 1, "sound_hz": 8000}
_N_SHARDS = 6  # in turns to two workers and to one


def measure(quick: bool) -> list[Row]:
    seconds, long_seconds = (5, 60) if quick else (60, 7200)
    with tempfile.TemporaryDirectory() as scratch:
        video, long = (os.path.join(scratch, f"{n}.mp4") for n in ("short", "long"))
        write_video(video, seconds, **SHORT)
        write_video(long, long_seconds, **_LONG)
        return [
            *_against_the_floor(video, seconds, scratch, 2 if quick else 7),
            _memory(video, long, long_seconds, scratch),
            _two_workers(video, seconds, scratch, 1 if quick else 5),
        ]


def _against_the_floor(
    video: str, seconds: float, scratch: str, n_repeats: int
) -> list[Row]:
    found = os.path.join(scratch, "other.npz")
    settings = {"video": video, "backbone": BACKBONE}
    of_keys = os.path.join(scratch, "key")
    os.makedirs(of_keys)
    with (
        Side("extract_video", n_cores=1, folder=scratch, **settings) as ours,
        Side("decode_and_cnn", n_cores=1, found=found, **settings) as other,
        Side(
            "extract_video", n_cores=1, folder=of_keys, frames="key", **settings
        ) as key,
    ):
        theirs = np.load(found)["features_2d"]
        # Ours are stored in 16 bits.
        equal = check_equal(
            "features", _features(scratch, theirs.shape[1]), theirs, 1e-3
        )
        *runs, of_key = in_turns(n_repeats, ours, other, key)
        start_up = f"start-up {ours.ready['prepare_s']:.0f} s"
    with av.open(video) as container:
        n_keys = sum(one.is_keyframe for one in container.demux(video=0))
    note = (
        f"{equal}; one core, a video of {SHORT['width']} x {SHORT['height']} at "
        f"{SHORT['fps']} frames a second; {start_up}"
    )
    config = AudioConfig()
    kept_by_authors = 3600 * (2 * config.sample_rate + 4 * theirs.shape[1])

    def row(
        name: str,
        floor: str,
        part: Callable[[Run], float],
        note: str = "",
        of: Sequence[Sequence[Run]] = runs,
    ) -> Row:
        def cpu_s_an_hour(run: Run) -> float:
            # Ours has no parts.
            used = part(run) if "decode_s" in run else run["cpu_s"]
            return used * 3600 / seconds

        return compare(name, "CPU-s an hour", cpu_s_an_hour, *of, floor, note)

    return [
        row("extract_cpu", "decoding and CNN alone", lambda run: run["cpu_s"], note),
        row("extract_decoding", "decoding alone", lambda run: run["decode_s"]),
        row("extract_cnn", "CNN alone", lambda run: run["cpu_s"] - run["decode_s"]),
        row(
            "extract_key_frames",
            "--frames=all",
            lambda run: run["cpu_s"],
            f"{n_keys} key frames in {seconds:g} s",
            (of_key, runs[0]),
        ),
        Row(
            "extract_bytes",
            runs[0][0]["n_bytes"] * 3600 / seconds / 1e6,
            kept_by_authors / 1e6,
            "wav and float32 features",
            "MB an hour",
        ),
    ]


def _features(folder: str, dim: int) -> np.ndarray:
    """The features that sides/extract_video.py has stored."""
    shard = os.path.join(folder, records.shard_name("all", 0, 1))
    (serialized,) = tf.data.TFRecordDataset(shard).as_numpy_iterator()
    spec = records.RecordsSpec(
        audio=AudioConfig(),
        log_mel_reference="recording",
        features_2d=records.FeatureSpec(BACKBONE, dim, 1.0),
        features_3d=None,
        languages=("und",),
        synthetic=True,
        shards={},
    )
    return records.decode(serialized, spec).features_2d


def _memory(short: str, long: str, long_seconds: float, scratch: str) -> Row:
    """A row of the largest size of a worker, with a long video and with a short one."""
    peaks = []
    for video in (long, short):
        settings = {"video": video, "backbone": BACKBONE, "folder": scratch}
        with Side("extract_video", n_cores=1, **settings, n_warm_ups=0) as side:
            peaks.append(side.repeat()["peak_mb"])
    return Row(
        "extract_memory",
        *peaks,
        "a short video",
        "MB",
        f"one run; the long video lasts {long_seconds / 3600:.3g} h",
    )


def _two_workers(video: str, seconds: float, scratch: str, n_repeats: int) -> Row:
    """A row of the speed of two workers and of one, both started and warm."""
    config = ExtractionConfig(BACKBONE, "", "", "")
    tasks = [
        ShardTask(
            scratch,
            records.shard_name("all", i, _N_SHARDS),
            (Recording(f"{i}", video),),
            config,
        )
        for i in range(_N_SHARDS)
    ]
    n_seconds = len(tasks) * seconds
    runs: dict[int, list[Run]] = {2: [], 1: []}
    # Three processes would share a GPU's memory; they read this as they start.
    hidden = mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES="-1")
    with hidden, workers.Workers(2) as two, workers.Workers(1) as one:
        for repeat in range(n_repeats + 1):
            for n_workers, pool in ((2, two), (1, one)):
                started = time.perf_counter()
                for _ in pool.make_shards(tasks):
                    pass
                if repeat:  # the first one loads the CNN
                    wall_s = time.perf_counter() - started
                    runs[n_workers].append({"speed": n_seconds / wall_s})
    return compare(
        "extract_two_workers",
        "video-s/s",
        lambda run: run["speed"],
        runs[2],
        runs[1],
        "one worker",
        f"without start-up; {n_cores()} cores, {_N_SHARDS} shards of a video each",
    )


def write_video(
    path: str, seconds: int, height: int, width: int, fps: int, sound_hz: int
) -> None:
    """A camera moves over a landscape of blots, with a little noise."""
    random = np.random.default_rng(0)
    blots = random.integers(0, 256, (60, 100, 3), np.uint8)
    landscape = media.resize(blots, 2 * height, 2 * width)

    def frames():
        for i in range(seconds * fps):
            y = int(height / 2 * (1 + np.sin(i / 60)))
            x = int(width / 2 * (1 + np.cos(i / 75)))
            view = landscape[y : y + height, x : x + width]
            yield view // 2 + random.integers(0, 3, (height, width, 1), np.uint8)

    waveform = 0.1 * random.standard_normal(seconds * sound_hz, np.float32)
    media.write_video(path, frames(), fps, waveform, sound_hz)
