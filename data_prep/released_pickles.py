"""The authors' pickled corpora, and a user's own in their form: a list of clips.

In: a pickle; each clip is a dictionary of
    audio             [40, T], dB; a torch tensor or an array
    2d, 3d            one vector [D] each: the maximum over the clip's time. 3d may be
                      left out of all clips. MSR-VTT has them as 2d_pooled, 3d_pooled
    2d_full, 3d_full  all vectors [K, D], 1 and 1.5 a second; MSR-VTT's are 2d and 3d
    id, video_id, start, end (seconds) and anything else, all optional
Out: a record a clip.

Source: authors' README.md, youcook_dataloader.py and msrvtt_dataloader.py.
"""

import collections
import dataclasses
import hashlib
import json
import math

import numpy as np

from avl_tf import records
from avl_tf.audio import AudioConfig
from avl_tf.errors import UserError
from avl_tf.manifest.media_files import sha256
from avl_tf.records import Clip, FeatureSpec, Record, RecordsSpec
from avl_tf.torch_weights import read_torch_file

_AUTHORS = (records.AUTHORS_2D, records.AUTHORS_3D)
_BACKBONES = (_AUTHORS[0].backbone, _AUTHORS[1].backbone)
_RATES_HZ = {"2d": _AUTHORS[0].rate_hz, "3d": _AUTHORS[1].rate_hz}
_ARRAYS = {"audio"} | {s + kind for s in _RATES_HZ for kind in ("", "_pooled", "_full")}
_AUDIO = AudioConfig()


@dataclasses.dataclass
class ReleasedClips:
    """The clips of one pickle, as records in the order of its list.

    spec has no shards. notes tell the user what was missing. fingerprint changes with
    the file's content.
    """

    path: str
    ids: list[str]
    spec: RecordsSpec
    notes: list[str]
    fingerprint: str
    _records: dict[int, Record]

    def take(self, index: int) -> Record:
        """Hands out a record once: its memory goes with it."""
        return self._records.pop(index)

    def place(self, index: int) -> str:
        """Says where a record is from."""
        return f"{self.path}, clip {index}"


def read_clips(
    path: str,
    language: str,
    split: str,
    full: bool = False,
    backbones: tuple[str, str] = _BACKBONES,
) -> ReleasedClips:
    """Reads a pickle and checks the shape of all that is in it.

    A clip without an id gets "clip-000017", its place in the list; clips that share
    one, as parts of a video may, get their place behind it. A clip counts as long as
    its audio, whatever its start and end say, as for the authors.

    Args:
        path: a local file.
        language, split: of all clips.
        full: keep the features of all time steps; a clip without them keeps its pooled
            vector as the only step. Otherwise each clip has the pooled vector alone, at
            0 Hz: it stands for the whole clip.
        backbones: the CNNs that the 2D and 3D features are of.

    Raises:
        FileNotFoundError, UnsafePickleError, TorchFileError: as read_torch_file.
        ValueError: it holds something else, no clips, a clip without audio or features
            or with other features than the first, or one clip twice.
    """
    fingerprint = sha256(path).hex()
    clips = _checked_list(read_torch_file(path), path)
    made, left_out, n_pooled = [], set(), 0
    for index in range(len(clips)):
        # Popped, so that what is not kept of the clip is forgotten at once.
        clip, clips[index] = clips[index], None
        place = f"{path}, clip {index}"
        try:
            record, lacks_steps = _record(clip, index, language, split, full)
            made.append(record)
            _check_alike(record, made[0])
        except ValueError as error:
            raise UserError(f"{place}: {error}") from error
        n_pooled += lacks_steps
        left_out |= {str(k) for k in clip.keys() - _ARRAYS - record.labels.keys()}
    if full and n_pooled == len(made):
        raise UserError(
            f"{path}: no clip has full-resolution features, only a pooled vector. "
            "Leave out --features=full."
        )
    made, n_shared = _with_unique_ids(made, path)
    notes = []
    if full and n_pooled:
        lacking = "lack full-resolution features; their pooled vectors stand in"
        notes.append(f"{n_pooled} clips {lacking}")
    if n_shared:
        notes.append(f"{n_shared} clips share an id; their place in the list is added")
    if left_out:
        notes.append(f"left out, as they are not JSON: {', '.join(sorted(left_out))}")
    spec = RecordsSpec(
        audio=_AUDIO,
        log_mel_reference="clip",
        features_2d=_feature_spec(made[0].features_2d, backbones[0], "2d", full),
        features_3d=_feature_spec(made[0].features_3d, backbones[1], "3d", full),
        languages=(language,),
        synthetic=False,
        shards={},
    )
    ids = [record.id for record in made]
    return ReleasedClips(path, ids, spec, notes, fingerprint, dict(enumerate(made)))


def _checked_list(value, path):
    """Returns what a pickle holds if that is a list of dictionaries."""
    found = f"a {type(value).__name__}"
    if isinstance(value, list):
        if not value:
            raise UserError(f"{path}: 0 clips in it.")
        kinds = sorted({type(clip).__name__ for clip in value})
        if kinds == ["dict"] and "audio" in value[0]:
            _require_once(value, path)
            return value
        found = f"a list of {', '.join(kinds)}"
        if kinds == ["dict"]:
            found += f" with {_fields(value[0])}"
    elif isinstance(value, dict):
        found += f" with {_fields(value)}"
    raise UserError(
        f"{path}: a pickle of another corpus? Expected a list of clips, each a "
        f"dictionary with audio, 2d and 3d, got {found}."
    )


def _require_once(clips, path):
    """Refuses a dictionary that stands twice in the list: two bytes make a clip."""
    seen: dict[int, int] = {}
    for index, clip in enumerate(clips):
        if (first := seen.setdefault(id(clip), index)) != index:
            raise _same(path, first, index, _text(clip.get("id")))


def _same(path, first, index, identity):
    return UserError(
        f"{path}: clips {first} and {index} are the same, '{identity}'. Leave one of "
        "them out."
    )


def _record(clip, index, language, split, full):
    """Makes a record, and says whether it lacks full-resolution features."""
    audio = clip.get("audio")
    if not _is_array(audio, 2) or len(audio) != _AUDIO.n_mels:
        raise UserError(
            f"audio is {_describe(audio)}, expected [{_AUDIO.n_mels}, T], a log-mel "
            "spectrogram in dB."
        )
    streams, lacks_steps = {}, False
    for stream in _RATES_HZ:
        steps, pooled = _steps(clip, stream), _pooled(clip, stream)
        lacks_steps |= pooled is not None and steps is None
        streams[stream] = steps if full and steps is not None else pooled
    if streams["2d"] is None:
        raise UserError(f"no 2d features, only {_fields(clip)}.")
    duration_s = audio.shape[1] / _AUDIO.frame_rate
    span = _span(clip)
    start_s, end_s = span or (0.0, duration_s)
    identity = _text(clip.get("id")) or f"clip-{index:06d}"
    record = Record(
        id=identity,
        recording_id=_text(clip.get("video_id")) or identity,
        language=language,
        split=split,
        start_s=start_s,
        end_s=end_s,
        log_mel=audio.T,
        features_2d=streams["2d"],
        features_3d=streams["3d"],
        clips=(Clip(0.0, duration_s),) if span else (),
        labels={k: v for k, v in clip.items() if k not in _ARRAYS and _is_json(k, v)},
    )
    return record, lacks_steps


def _steps(clip, stream):
    """All vectors [K, D] of a stream, or None."""
    for name in (f"{stream}_full", stream):
        if _is_array(clip.get(name), 2) and len(clip[name]):
            return clip[name]
    return None


def _pooled(clip, stream):
    """The vector of a stream as one time step [1, D], or None if there is no stream."""
    for name in (f"{stream}_pooled", stream, f"{stream}_full"):
        vectors = clip.get(name)
        if vectors is None:
            continue
        if not (_is_array(vectors, 1) or _is_array(vectors, 2)) or not vectors.size:
            raise UserError(
                f"{name} is {_describe(vectors)}, expected numbers [D] or [K, D]."
            )
        return vectors.reshape(-1, vectors.shape[-1]).max(axis=0, keepdims=True)
    return None


def _check_alike(record, first):
    for name in ("features_2d", "features_3d"):
        ours, theirs = (
            "no vectors"
            if vectors is None
            else f"vectors of {vectors.shape[1]} numbers"
            for vectors in (getattr(record, name), getattr(first, name))
        )
        if ours != theirs:
            raise UserError(
                f"{name} has {ours}, clip 0 has {theirs}. All clips must have features "
                "of the same CNNs."
            )


def _with_unique_ids(made, path):
    """Adds their place to ids that several records have; counts those records.

    Raises:
        ValueError: two of them are the same in all.
    """
    n_of = collections.Counter(record.id for record in made)
    seen: dict[tuple, int] = {}
    result = []
    for index, record in enumerate(made):
        if n_of[record.id] > 1:
            arrays = (record.log_mel, record.features_2d)
            content = [hashlib.sha256(array.tobytes()).digest() for array in arrays]
            key = (record.id, record.start_s, record.end_s, *content)
            first = seen.setdefault(key, index)
            if first != index:
                raise _same(path, first, index, record.id)
            record = dataclasses.replace(record, id=f"{record.id}-{index:06d}")
        result.append(record)
    return result, sum(n for n in n_of.values() if n > 1)


def _feature_spec(vectors, backbone, stream, full):
    if vectors is None:
        return None
    return FeatureSpec(backbone, vectors.shape[1], _RATES_HZ[stream] if full else 0.0)


def _span(clip):
    """(start, end) in seconds, or None if the clip has no such numbers."""
    try:
        start_s, end_s = float(clip["start"]), float(clip["end"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return (start_s, end_s) if 0 <= start_s < end_s < math.inf else None


def _text(value):
    return str(value) if isinstance(value, str | int | float) else ""


def _is_json(name, value):
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(name, str)


def _is_array(value, rank):
    return (
        isinstance(value, np.ndarray)
        and value.ndim == rank
        and np.issubdtype(value.dtype, np.floating)
    )


def _describe(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return "missing" if value is None else f"a {type(value).__name__}"


def _fields(dictionary):
    return f"{', '.join(sorted(map(str, dictionary)))[:200] or 'nothing in it'}"
