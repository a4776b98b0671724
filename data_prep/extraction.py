"""What a worker does: recordings of a manifest in, one finished shard out."""

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterable, Iterator

import distributed
import numpy as np
import tensorflow as tf

from avl_tf import audio, media, records
from avl_tf.audio import AudioConfig
from avl_tf.backbones import Backbone, load_backbone
from avl_tf.records import Clip, FeatureSpec, Record
from data_prep import shards
from data_prep.manifest import Recording
from data_prep.shards import ShardResult

# Frames decoded before they go through the CNN together: bounds the memory. A multiple
# of the 16 frames of a 3D feature.
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class ExtractionConfig:
    """What is computed from every recording. A weights of "" is the backbone's own."""

    backbone_2d: str
    weights_2d: str
    backbone_3d: str
    weights_3d: str
    audio: AudioConfig = AudioConfig()


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """One shard to make."""

    folder: str
    name: str
    recordings: tuple[Recording, ...]
    config: ExtractionConfig


def limit_threads(n_threads: int) -> None:
    """Keeps TensorFlow to n_threads in this process; before its first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


class LimitThreads(distributed.WorkerPlugin):
    """limit_threads in every worker process, those started anew after a crash too."""

    def __init__(self, n_threads: int):
        self.n_threads = n_threads

    def setup(self, worker):
        limit_threads(self.n_threads)


@dataclasses.dataclass(frozen=True)
class Extracted:
    """One recording: serialised, or the reason why not."""

    serialized: bytes | None
    n_clips: int
    failure: dict[str, str] | None


def extract_or_explain(recording: Recording, config: ExtractionConfig) -> Extracted:
    """Extracts and serialises one recording; whatever goes wrong is a failure of it."""
    try:
        record = extract_recording(recording, config)
        return Extracted(records.encode(record), max(1, len(record.clips)), None)
    except (media.MediaError, ValueError, OSError) as error:
        return failed(recording, str(error))
    except Exception as error:  # one odd file must not end the extraction of a million
        return failed(recording, f"{type(error).__name__}: {error}")


def failed(recording: Recording, reason: str) -> Extracted:
    """What stands for a recording that could not be extracted."""
    failure = {"id": recording.id, "media": recording.media, "reason": reason}
    return Extracted(None, 0, failure)


def extract_shard(task: ShardTask) -> ShardResult:
    """Makes one shard, then the note that it is whole."""
    return write_shard(
        task, [extract_or_explain(r, task.config) for r in task.recordings]
    )


def write_shard(task: ShardTask, extracted: list[Extracted]) -> ShardResult:
    """Writes the shard of a task whose recordings are extracted."""
    return shards.write(
        task.folder,
        task.name,
        [e.serialized for e in extracted if e.serialized],
        sum(e.n_clips for e in extracted),
        [e.failure for e in extracted if e.failure],
    )


def extract_recording(recording: Recording, config: ExtractionConfig) -> Record:
    """Decodes one recording and computes its log-mel and its visual features.

    Raises:
        media.MediaError: the media cannot be decoded.
        ValueError: a clip lies outside the recording.
    """
    waveform = media.read_waveform(
        recording.media, config.audio.sample_rate, recording.start_s, recording.end_s
    )
    if not len(waveform):
        raise media.MediaError(f"{recording.media}: no sound in the span asked for.")
    duration_s = len(waveform) / config.audio.sample_rate
    clips = []
    for clip in recording.clips:
        if clip["start_s"] >= duration_s:
            raise ValueError(
                f"a clip starts at {clip['start_s']} s, the recording ends at "
                f"{duration_s:.2f} s"
            )
        end_s = min(clip["end_s"], duration_s)
        clips.append(Clip(clip["start_s"], end_s, str(clip.get("label", ""))))
    log_mel = audio.log_mel(waveform[np.newaxis], config.audio)[0].numpy()
    return Record(
        id=recording.id,
        recording_id=recording.recording_id,
        language=recording.language,
        split=recording.split,
        start_s=recording.start_s,
        end_s=recording.start_s + duration_s,
        log_mel=log_mel,
        features_2d=_features(recording, config.backbone_2d, config.weights_2d),
        features_3d=_features(recording, config.backbone_3d, config.weights_3d),
        clips=tuple(clips),
        labels=recording.labels,
    )


def feature_spec(backbone: str, weights: str) -> FeatureSpec | None:
    """Describes the features of a backbone; None for none."""
    if not backbone:
        return None
    loaded = _backbone(backbone, weights)
    rate_hz = loaded.fps / loaded.frames_per_feature
    return FeatureSpec(backbone, loaded.feature_dim, rate_hz)


@functools.lru_cache
def _backbone(name: str, weights: str) -> Backbone:
    return load_backbone(name, weights or None)


def _features(recording: Recording, name: str, weights: str) -> np.ndarray | None:
    """Features [K, D] of a recording, L2-normalised per time step as the authors'."""
    if not name:
        return None
    backbone = _backbone(name, weights)
    features = [backbone(frames) for frames in _chunks(_frames(recording, backbone))]
    if not features:
        raise media.MediaError(f"{recording.media}: no frame in the span asked for.")
    stacked = np.concatenate(features)
    return stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-12)


def _frames(recording: Recording, backbone: Backbone) -> Iterable[np.ndarray]:
    if recording.image:
        image = media.read_image(recording.image)[..., :3]
        scale = backbone.short_side / min(image.shape[:2])
        height, width = (round(side * scale) for side in image.shape[:2])
        return [media.resize(image, height, width)]
    return media.iter_frames(
        recording.media,
        backbone.fps,
        backbone.short_side,
        backbone.crop,
        recording.start_s,
        recording.end_s,
    )


def _chunks(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    frames = iter(frames)
    while chunk := list(itertools.islice(frames, _CHUNK)):
        yield np.stack(chunk)


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
