"""Recordings in, what is recorded of them out: log-mel spectrograms and features.

Extraction, the index of the search engine and whoever else reads media do it here.
"""

import functools
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from avl_tf import audio, fields, files, media, still_images
from avl_tf.backbones import Backbone, load_backbone, unit_length
from avl_tf.errors import UserError
from avl_tf.extraction.frame_batches import FrameBatches
from avl_tf.manifest import Recording, failures, line
from avl_tf.manifest.failures import Failure
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.media_files import AUDIO_SUFFIXES, has_suffix
from avl_tf.records import Clip, FeatureSpec, Record
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.settings.stored import FEATURES_CHECK as _STREAM_CHECK
from avl_tf.spool import Spool

# What a storage depends on: the levels of 8 bits on more than 16 hold.
_DTYPES = {"float16": np.float16, "int8": np.float32}

# Of what feature_specs gives, as JSON.
FEATURES_CHECK = fields.record(
    dict.fromkeys(("features_2d", "features_3d"), fields.nullable(_STREAM_CHECK))
)


def limit_threads(n_threads: int) -> None:
    """Keeps TensorFlow to n_threads in this process; before its first operation.

    One thread an operation: how a sum is dealt to threads decides its last bits.
    Several batches of a recording are computed at a time instead.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(n_threads)


def feature_specs(config: ExtractionConfig) -> dict[str, FeatureSpec | None]:
    """Describes features_2d and features_3d; None for a stream without a backbone.

    Raises:
        ValueError, OSError: as load_backbone.
    """
    return {
        name: FeatureSpec(one.name, one.feature_dim, one.rate_hz, config.frames)
        if one
        else None
        for name, one in _backbones(config).items()
    }


def try_recording(recording: Recording, config: ExtractionConfig, folder: str) -> None:
    """Extracts a recording for nothing, to see whether the process survives it."""
    for _ in extract([recording], config, folder=folder):
        pass


def extract(
    recordings: Sequence[Recording],
    config: ExtractionConfig,
    notes: list[Finding] | None = None,
    one_sided: bool = False,
    folder: str | None = None,
) -> Iterator[Record | Failure]:
    """Extracts recordings, one after another.

    On one processor a recording's log-mel and features are the same, bit for bit,
    whatever the other recordings and, after limit_threads, the number of threads. Other
    processors may add up in another order (docs/reliability.md).

    Args:
        recordings: of a manifest.
        config: what is computed.
        notes: takes, before a recording's Record, what else is worth telling of it.
        one_sided: take a video without sound, or nothing but zeros: its log_mel has no
            frames; and a file that is sound by its name: it has no features.
        folder: where the records will lie. The sound of a long recording waits there,
            in a file without a name, for what is not known before its end: memory does
            not grow by it. For a remote one that is the system's folder for temporary
            files; for None the sound stays in memory.

    Yields:
        For each recording, in order, its Record or what went wrong with it.
    """
    backbones = {k: one for k, one in _backbones(config).items() if one}
    n_threads = tf.config.threading.get_inter_op_parallelism_threads() or 1
    if folder is not None:
        folder = files.local_path(folder)
        folder = tempfile.gettempdir() if "://" in folder else folder
    keep = functools.partial(_normalised, dtype=_DTYPES[config.storage])
    with ThreadPoolExecutor(n_threads) as pool:
        for recording in recordings:
            batches = {
                name: FrameBatches(
                    backbone, pool, n_threads, config.frames == "key", keep
                )
                for name, backbone in backbones.items()
            }
            found: Record | Failure
            of_file: list[media.Note] = []
            try:
                with Spool(np.int16, folder) as sound:
                    found = _record(
                        recording, batches, config, of_file, one_sided, sound
                    )
            except Exception as error:  # one odd file must not end a million's
                found = failure(recording, error)
                for one in batches.values():
                    one.forget()
            if notes is not None:
                notes += (
                    Finding(note.kind, recording.id, note.text, recording.media)
                    for note in of_file
                )
            yield found


def _record(
    recording: Recording,
    batches: dict[str, FrameBatches],
    config: ExtractionConfig,
    notes: list[media.Note],
    one_sided: bool,
    sound: Spool,
) -> Record:
    """Decodes the media once: its frames go into the batches, its sound is put by."""
    if config.keep_images and not recording.image:
        raise UserError(
            "its line of the manifest has no image, as --keep_images wants."
        )
    is_seen = is_heard = True
    if one_sided:
        is_seen = bool(recording.image) or not has_suffix(
            recording.media, AUDIO_SUFFIXES
        )
        # What is neither is told of as a sound that is not there.
        is_heard = not is_seen or media.has_sound(recording.media)
    sinks = list(batches.values())
    views, jpeg = [], None
    if recording.image:
        image = still_images.read(recording.image, config.limits)
        for sink in sinks:
            sink.put(still_images.as_frame(image, sink.backbone))
        if config.keep_images:
            jpeg = still_images.as_jpeg(recording.image, image)
    elif is_seen:
        backbones = [sink.backbone for sink in sinks]
        only_keys = config.frames == "key"
        views = [media.View(b.fps, b.short_side, b.crop, only_keys) for b in backbones]
    decoded = media.decode(
        recording.media,
        config.audio.sample_rate if is_heard else None,
        views,
        recording.start_s,
        recording.end_s,
        limits=config.limits,
        notes=notes,
        wanted=recording.wanted,
        sparing=True,
    )
    for index, array in decoded if is_heard or views else ():
        if array is None and index is not None:
            sinks[index].forget()
        elif array is None:
            sound.clear()
        elif index is None:
            sound.append(array)
        else:
            sinks[index].put(array)
    if is_heard and not len(sound):
        raise media.MediaError(f"{recording.media}: no sound in the span asked for.")
    parts = {name: one.finish() for name, one in batches.items()} if is_seen else {}
    if not all(parts.values()):
        raise media.MediaError(f"{recording.media}: no frame in the span asked for.")
    dtype = _DTYPES[config.storage]
    log_mel = np.zeros((0, config.audio.n_mels), dtype)
    if sound.any():
        log_mel = audio.long_log_mel(sound, config.audio, dtype=dtype)
    elif is_heard and not (one_sided and is_seen):
        raise media.MediaError(f"{recording.media}: its sound is nothing but zeros.")
    features = {name: np.concatenate(part) for name, part in parts.items()}
    for part in parts.values():
        part.clear()
    duration_s = len(sound) / config.audio.sample_rate
    if not duration_s and not recording.image:
        name, steps = next(iter(features.items()))
        duration_s = len(steps) / batches[name].backbone.rate_hz
    clips = _clips(recording, duration_s, notes)
    return Record(
        id=recording.id,
        recording_id=recording.recording_id,
        language=recording.language,
        split=recording.split,
        start_s=recording.start_s,
        end_s=recording.start_s + duration_s,
        log_mel=log_mel,
        **features,
        image=jpeg,
        clips=clips,
        labels=recording.labels,
    )


def failure(recording: Recording, error: Exception) -> Failure:
    """What stands for a recording that could not be extracted."""
    expected = isinstance(error, media.MediaError | UserError | OSError)
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    reason = failures.reason(text, recording.media) or type(error).__name__
    return {"id": recording.id, "media": recording.media, "reason": reason}


def _backbones(config: ExtractionConfig) -> dict[str, Backbone | None]:
    wanted = {
        "features_2d": (config.backbone_2d, config.weights_2d),
        "features_3d": (config.backbone_3d, config.weights_3d),
    }
    return {k: _backbone(*one) if one[0] else None for k, one in wanted.items()}


@functools.lru_cache
def _backbone(name: str, weights: str) -> Backbone:
    return load_backbone(name, weights or None)


def _normalised(features: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
    """L2-normalises features [K, D] per time step as the authors do."""
    return unit_length(features).astype(dtype, copy=False)


def _clips(
    recording: Recording, duration_s: float, notes: list[media.Note]
) -> tuple[Clip, ...]:
    """The clips that have sound; a note for each that starts after its end."""
    beyond = line.beyond_end(recording.clips, duration_s)
    if beyond and len(beyond) == len(recording.clips):
        raise UserError(
            f"{recording.media}: all its clips start after its end: {beyond[0]}. "
            "Correct the manifest, or leave them out (the adapters: --drop=beyond)."
        )
    notes += (media.Note("beyond", text) for text in beyond.values())
    return tuple(
        Clip(
            clip["start_s"],
            min(clip["end_s"], duration_s),
            "" if (label := clip.get("label")) is None else str(label),
        )
        for index, clip in enumerate(recording.clips)
        if index not in beyond
    )
