"""Media in, arrays out, in a process of its own with bounds; no TensorFlow here.

What decodes a foreign file can be crashed or taken over by it. That process has bounded
time and memory, ends with its one file, and is told and tells nothing but JSON and .npy
files, which are never unpickled.
"""

import dataclasses
import json
import math
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from absl import logging

from avl_tf import fields, json_text, media, offspring
from avl_tf.errors import MediaError, UserError
from avl_tf.exhibits import media as exhibits
from avl_tf.settings.limits import Limits

PREVIEW_SIDE = 240
N_PEAKS = 120
_PREVIEW_RATE_HZ = 8000
# Bytes beside what the process has when it begins, and those of what it writes.
_MEMORY, _WRITTEN = 1_500_000_000, 1_000_000_000
_CPU_S, _WALL_S = 60, 90
_LONGEST_ANSWER = 65_536
_ANSWER = fields.record(
    {
        "error": fields.text(empty=True),
        "by": fields.text(empty=True),
        "seconds": fields.number(0),
        "peaks": fields.items(fields.number(0, 1)),
        "rate": fields.number(0),
        "has_picture": fields.boolean,
    }
)
_CONTEXT = multiprocessing.get_context("forkserver")


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be made of a file.

    Attributes:
        path: the file.
        out: where the array goes, or the picture of a preview.
        by: "audio", "video", "image", or "auto", which is what the file holds; or
            "preview".
        sample_rate: Hz, of sound.
        fps, short_side, crop, only_keys: of pictures, as media.View.
        start_s, end_s: of a preview, the span in the file.
        max_seconds: what lasts longer is refused.
    """

    path: str
    out: str
    by: str
    sample_rate: int = _PREVIEW_RATE_HZ
    fps: float = 1.0
    short_side: int | None = None
    crop: int | None = None
    only_keys: bool = False
    start_s: float = 0.0
    end_s: float = 0.0
    max_seconds: int = 3600


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What was made.

    Attributes:
        by: what of the file was taken, "audio", "video" or "image".
        seconds: how long that is; 0 of an image.
        peaks: [N_PEAKS] of the sound's waveform, 0 to 1; none if it was not read.
        rate: samples or frames a second of the array in `out`.
        has_picture: of a preview, whether `out` was written.
    """

    by: str
    seconds: float
    peaks: tuple[float, ...]
    rate: float
    has_picture: bool


def prepare() -> None:
    """Starts what the processes are copies of, so that the first has not to wait."""
    _CONTEXT.set_forkserver_preload([__name__, "avl_tf.program", "avl_tf.settings"])
    multiprocessing.forkserver.ensure_running()


def run(job: Job, wall_s: float = _WALL_S) -> Decoded:
    """Does a job in a process of its own.

    Raises:
        MediaError: the file is none of media, damaged, too large or too long, or takes
            more time or memory than it may.
    """
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(
        target=_work, args=(sender, dataclasses.asdict(job)), daemon=True
    )
    process.start()
    sender.close()
    try:
        if not receiver.poll(wall_s):
            raise MediaError(f"{job.path}: takes more than {wall_s:g} s to decode.")
        answer = json_text.parse(receiver.recv_bytes(_LONGEST_ANSWER), "an answer")
        fields.require(answer, _ANSWER, "an answer")
    except (EOFError, OSError) as error:
        raise MediaError(
            f"{job.path}: cannot be decoded within {_CPU_S} s of work and "
            f"{_MEMORY / 1e9:g} GB of memory."
        ) from error
    finally:
        process.kill()
        process.join()
        process.close()
        receiver.close()
    if why := answer.pop("error"):
        raise MediaError(why)
    return Decoded(**{**answer, "peaks": tuple(answer["peaks"])})


def _work(sender: Connection, given: dict[str, Any]) -> None:
    """What the process does."""
    offspring.end_with_parent()
    _bound()
    answer = {"error": "", "by": "", "seconds": 0.0, "peaks": [], "rate": 0.0}
    answer["has_picture"] = False
    try:
        answer |= _preview(Job(**given)) if given["by"] == "preview" else _decode(given)
    except (MediaError, UserError, OSError) as error:
        answer["error"] = str(error)
    except MemoryError:
        answer["error"] = f"{given['path']}: takes more memory than it may."
    except Exception:
        # A defect of ours or of PyAV's, which a foreign file has found.
        traceback.print_exc(file=sys.stderr)
        answer["error"] = f"{given['path']}: cannot be decoded."
    text = json.dumps(answer).encode("utf-8", "replace")
    sender.send_bytes(text[:_LONGEST_ANSWER])


def _bound() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        begun = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (begun + _MEMORY, begun + _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_WRITTEN, _WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _decode(given: dict[str, Any]) -> dict[str, Any]:
    job = Job(**given)
    limits = Limits(max_megapixels=50, max_seconds=job.max_seconds)
    by = _kind(job.path) if job.by == "auto" else job.by
    if by == "audio":
        samples = _sound(job.path, job.sample_rate, limits)
        _save(job.out, samples)
        seconds, rate = len(samples) / job.sample_rate, float(job.sample_rate)
        return {"by": by, "seconds": seconds, "peaks": peaks(samples), "rate": rate}
    if by == "image" or media.is_image(job.path):
        _save(job.out, media.read_on_white(job.path, limits)[np.newaxis])
        return {"by": "image", "rate": job.fps}
    frames, seconds = _frames(job, limits)
    _save(job.out, frames)
    return {"by": by, "seconds": seconds, "rate": job.fps}


def _kind(path: str) -> str:
    """What a file is searched by, if nobody says: its pictures, if it has some."""
    if media.is_image(path):
        return "image"
    return "video" if media.has_pictures(path) else "audio"


def _sound(path: str, sample_rate: int, limits: Limits) -> np.ndarray:
    samples = media.collect(media.decode(path, sample_rate, limits=limits))
    if not samples.any():
        what = "its sound is nothing but zeros" if len(samples) else "no sound in it"
        raise MediaError(f"{path}: {what}.")
    return samples


def _frames(job: Job, limits: Limits) -> tuple[np.ndarray, float]:
    """As trained.sources sees a video: no further than its sound goes."""
    has_sound = media.has_sound(job.path)
    view = media.View(job.fps, job.short_side, job.crop, job.only_keys)
    rate = job.sample_rate if has_sound else None
    frames: list[np.ndarray] = []
    n_samples = 0
    for index, array in media.decode(job.path, rate, [view], limits=limits):
        if array is None:
            n_samples = 0
        elif index is None:
            n_samples += len(array)
        else:
            frames.append(array)
            if len(frames) > job.fps * (job.max_seconds + 1):
                raise MediaError(
                    f"{job.path}: more than the {job.max_seconds} s of --max_seconds."
                )
    if n_samples:
        frames = frames[: int(job.fps * n_samples / job.sample_rate) + 1]
    if not frames:
        raise MediaError(f"{job.path}: no picture in it.")
    return np.stack(frames), len(frames) / job.fps


def _preview(job: Job) -> dict[str, Any]:
    """A picture of the middle of a span, and the peaks of its sound."""
    found: dict[str, Any] = {"by": "preview", "seconds": job.end_s - job.start_s}
    middle_s = (job.start_s + job.end_s) / 2
    picture = None
    # Behind the end exhibits show the last picture, which would be of another span.
    if media.is_image(job.path) or job.start_s < media.duration_s(job.path):
        picture = exhibits.picture(job.path, middle_s, PREVIEW_SIDE)
    if picture is not None:
        media.write_image(job.out, picture)
        found["has_picture"] = True
    if not media.is_image(job.path) and media.has_sound(job.path):
        span = job.start_s, max(job.end_s, job.start_s + 0.1)
        found["peaks"] = peaks(
            media.read_waveform(job.path, _PREVIEW_RATE_HZ, *span, True)
        )
    return found


def peaks(samples: np.ndarray) -> list[float]:
    """The largest of each of N_PEAKS parts of a waveform, of its largest: 0 to 1."""
    parts = np.array_split(np.abs(samples.astype(np.float32)), N_PEAKS)
    found = np.array([part.max(initial=0.0) for part in parts])
    largest = float(found.max(initial=0.0))
    return [round(float(one), 3) for one in found / (largest or math.inf)]


def _save(path: str, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


def load(path: str) -> np.ndarray:
    """The array of a job, mapped into memory; its file may be removed meanwhile."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    finally:
        try:
            os.remove(path)
        except OSError as error:
            logging.warning("%s: %s", path, error)
