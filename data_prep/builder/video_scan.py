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

from avl_tf import fields, json_text, media
from avl_tf.errors import UserError
from avl_tf.manifest import failures
from avl_tf.media import DEFAULT_LIMITS, SAMPLE_RATE, Limits, Note, View, tracks
from avl_tf.media.file import MediaFile
from avl_tf.media.tracks import ANY, Track, Wanted
from avl_tf.near_duplicates import Fingerprint
from avl_tf.whole_files import replacing
from data_prep.builder import segmenters
from data_prep.builder.fingerprints import (
    FRAMES_FPS,
    FRAMES_SHORT_SIDE,
    AudioFingerprint,
    FramesFingerprint,
)

# Changes with what is measured, so that older files are not taken for it.
_VERSION = 2
_BLOCK_S = 10
# What a note that is not one of ours raises.
_DAMAGED = (ValueError, KeyError, TypeError)


@dataclasses.dataclass(frozen=True)
class Scan:
    """One video, scanned.

    Attributes:
        duration_s: length of its sound.
        speech: spans [(start_s, end_s), ...] as the segmenter gives them.
        fingerprints: kind -> Fingerprint, "audio" and "frames".
        failure: why the video cannot be used; "" if it can.
        notes: what else is worth telling of it.
    """

    duration_s: float = 0.0
    speech: tuple[segmenters.Span, ...] = ()
    fingerprints: dict[str, Fingerprint] = dataclasses.field(default_factory=dict)
    failure: str = ""
    notes: tuple[Note, ...] = ()


@dataclasses.dataclass(frozen=True)
class ScanTask:
    """A video to scan, where the result is kept, its limits, which sound is meant."""

    id: str
    path: str
    segmenter: str
    folder: str
    limits: Limits = DEFAULT_LIMITS
    wanted: Wanted = ANY


def scan(task: ScanTask) -> Scan:
    """Scans a video and keeps the result; whatever goes wrong is a failure of it."""
    description, sounds = _describe(task), _sounds(task)
    try:
        result = _scan(task)
    except Exception as error:  # one odd file must not end the work on thousands
        known = isinstance(error, media.MediaError | UserError | OSError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        result = Scan(failure=failures.reason(text, task.path))
    _keep(task, result, description, sounds)
    return result


def read_scan(task: ScanTask) -> Scan | None:
    """The result that is kept, or None if there is none for the video as it is now."""
    try:
        with np.load(_result_path(task)) as arrays:
            values = dict(arrays)
        note = json_text.parse(str(values["note"]), task.id)
        _NOTE(note, "")
        heard, told = _choice(note["sounds"], task.wanted)
    except (*_DAMAGED, OSError, zipfile.BadZipFile):
        return None
    if note["video"] != _describe(task) or note["heard"] != heard:
        return None
    fingerprints = {
        kind: Fingerprint(values[f"{kind}_hashes"], values[f"{kind}_times_s"])
        for kind in ("audio", "frames")
        if f"{kind}_hashes" in values
    }
    speech = tuple((start_s, end_s) for start_s, end_s in note["speech"])
    notes = [told] if told else []
    notes += (Note(*one) for one in note["notes"])
    failure = note["failure"]
    return Scan(note["duration_s"], speech, fingerprints, failure, tuple(notes))


_NOTE = fields.record(
    {
        "id": fields.text(),
        "video": fields.items(fields.anything),
        "duration_s": fields.number(0),
        "speech": fields.items(fields.items(fields.number(0), at_least=2)),
        "failure": fields.text(longest=2**20, empty=True),
        "sounds": fields.items(fields.anything, at_least=2),
        "heard": fields.anything,
        "notes": fields.items(fields.items(fields.text(), at_least=2)),
    }
)


def _scan(task: ScanTask) -> Scan:
    heard, frames = _Heard(task.segmenter), FramesFingerprint()
    views = [View(FRAMES_FPS, FRAMES_SHORT_SIDE)]
    notes: list[Note] = []
    for view, array in media.decode(
        task.path,
        SAMPLE_RATE,
        views,
        limits=task.limits,
        notes=notes,
        wanted=task.wanted,
    ):
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
    return Scan(duration_s, tuple(speech), fingerprints, notes=tuple(notes))


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


def _sounds(task: ScanTask) -> list:
    """The audio tracks of a video, for _choice: [[a Track's fields, ...], best]."""
    try:
        with MediaFile(task.path) as file:
            described, best = file.sounds()
    except (media.MediaError, OSError):
        return [[], None]
    return [[dataclasses.asdict(track) for track in described], best]


def _choice(sounds: list, wanted: Wanted) -> tuple[int | str | None, Note | None]:
    """The number of the track that is meant, or why there is none, and a note."""
    described, best = [Track(**one) for one in sounds[0]], sounds[1]
    if not any(track.decodable for track in described):
        return None, None
    try:
        return tracks.choose(described, best, wanted)
    except LookupError as error:
        return str(error.args[0]), None


def _keep(task: ScanTask, result: Scan, description: list, sounds: list) -> None:
    heard, told = _choice(sounds, task.wanted)
    note = {
        "id": task.id,
        "video": description,
        "duration_s": result.duration_s,
        "speech": result.speech,
        "failure": result.failure,
        "sounds": sounds,
        "heard": heard,
        "notes": [note for note in result.notes if note != told],
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
