"""What the builder needs to know of one video, from one pass over it, and remembers.

A video comes in; its length, where somebody speaks, and its fingerprints go out. They
are kept in a file, so that no video is decoded again as long as it stays the same.
"""

import dataclasses
import hashlib
import json
import os
import zipfile

import numpy as np

from avl_tf import media
from avl_tf.errors import UserError
from avl_tf.media import DEFAULT_LIMITS, SAMPLE_RATE, Limits, View
from avl_tf.whole_files import replacing
from data_prep.builder import segmenters
from data_prep.builder.fingerprints import (
    FRAMES_FPS,
    FRAMES_SHORT_SIDE,
    AudioFingerprint,
    Fingerprint,
    FramesFingerprint,
)

# Changes with what is measured, so that older files are not taken for it.
_VERSION = 2
_BLOCK_S = 10


@dataclasses.dataclass(frozen=True)
class Scan:
    """One video, scanned.

    Attributes:
        duration_s: length of its sound.
        speech: spans [(start_s, end_s), ...] as the segmenter gives them.
        fingerprints: kind -> Fingerprint, "audio" and "frames".
        failure: why the video cannot be used; "" if it can.
    """

    duration_s: float = 0.0
    speech: tuple[segmenters.Span, ...] = ()
    fingerprints: dict[str, Fingerprint] = dataclasses.field(default_factory=dict)
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class ScanTask:
    """A video to scan, the folder where the result is kept, how large it may be."""

    id: str
    path: str
    segmenter: str
    folder: str
    limits: Limits = DEFAULT_LIMITS


def scan(task: ScanTask) -> Scan:
    """Scans a video and keeps the result; whatever goes wrong is a failure of it."""
    description = _describe(task)
    try:
        result = _scan(task)
    except Exception as error:  # one odd file must not end the work on thousands
        known = isinstance(error, media.MediaError | UserError | OSError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        result = Scan(failure=" ".join(reason.split()))
    _keep(task, result, description)
    return result


def read_scan(task: ScanTask) -> Scan | None:
    """The result that is kept, or None if there is none for the video as it is now."""
    try:
        with np.load(_result_path(task)) as arrays:
            values = dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
    note = json.loads(str(values["note"]))
    if note["video"] != _describe(task):
        return None
    fingerprints = {
        kind: Fingerprint(values[f"{kind}_hashes"], values[f"{kind}_times_s"])
        for kind in ("audio", "frames")
        if f"{kind}_hashes" in values
    }
    speech = tuple((start_s, end_s) for start_s, end_s in note["speech"])
    return Scan(note["duration_s"], speech, fingerprints, note["failure"])


def _scan(task: ScanTask) -> Scan:
    heard, frames = _Heard(task.segmenter), FramesFingerprint()
    views = [View(FRAMES_FPS, FRAMES_SHORT_SIDE)]
    for view, array in media.decode(task.path, SAMPLE_RATE, views, limits=task.limits):
        if array is None:
            heard = _Heard(task.segmenter)
        elif view is None:
            heard.put(array)
        else:
            frames.feed(array)
    heard.listen()
    if not heard.n_samples:
        raise media.MediaError(f"{task.path}: no sound in it.")
    duration_s = heard.n_samples / SAMPLE_RATE
    speech = [
        (start_s, min(end_s, duration_s))
        for start_s, end_s in heard.segmenter.finish()
        if start_s < duration_s
    ]
    fingerprints = {"audio": heard.fingerprint.finish(), "frames": frames.finish()}
    return Scan(duration_s, tuple(speech), fingerprints)


class _Heard:
    """What is found out about a sound as it comes, some seconds at a time."""

    def __init__(self, segmenter: str):
        self.segmenter, self.fingerprint = (
            segmenters.make(segmenter),
            AudioFingerprint(),
        )
        self.n_samples = self._n_waiting = 0
        self._waiting: list[np.ndarray] = []

    def put(self, samples: np.ndarray) -> None:
        """Takes the next samples, int16 [S]."""
        self._waiting.append(samples)
        self.n_samples += len(samples)
        self._n_waiting += len(samples)
        if self._n_waiting >= _BLOCK_S * SAMPLE_RATE:
            self.listen()

    def listen(self) -> None:
        """Looks at what has come since it was done last."""
        block = np.concatenate([np.zeros(0, np.int16), *self._waiting])
        self._waiting, self._n_waiting = [], 0
        waveform = block.astype(np.float32) / 32768
        self.segmenter.feed(waveform)
        self.fingerprint.feed(waveform)


def _describe(task: ScanTask) -> list:
    """Tells one state of a video, and one way to scan it, from another."""
    try:
        status = os.stat(task.path)
    except OSError:
        return [_VERSION, task.segmenter]
    return [_VERSION, task.segmenter, status.st_size, status.st_mtime_ns]


def _keep(task: ScanTask, result: Scan, description: list) -> None:
    note = {
        "id": task.id,
        "video": description,
        "duration_s": result.duration_s,
        "speech": result.speech,
        "failure": result.failure,
    }
    arrays = {
        f"{kind}_{name}": array
        for kind, fingerprint in result.fingerprints.items()
        for name, array in fingerprint._asdict().items()
    }
    with replacing(_result_path(task)) as temporary, open(temporary, "wb") as out:
        np.savez(out, note=np.array(json.dumps(note)), **arrays)


def _result_path(task: ScanTask) -> str:
    # An id is a path, with any characters and of any length.
    name = hashlib.sha256(task.id.encode()).hexdigest()[:24]
    return os.path.join(task.folder, f"{name}.npz")
