"""From what a user has, files or arrays, to the inputs of a model's branches.

Every number is rounded as data_prep.extract rounds it for a record of float16.
"""

import math
import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from avl_tf import audio, dataset, images, media, still_images
from avl_tf.audio import AudioConfig
from avl_tf.backbones import Backbone, unit_length
from avl_tf.dataset import clip_cutting
from avl_tf.errors import UserError
from avl_tf.media import Wanted
from avl_tf.media.tracks import ANY

Source = str | os.PathLike | tuple[np.ndarray, float]
_FEATURES_AT_ONCE = 32
_LOUDEST = 1.5


def name(source: Source) -> str:
    """What a source is called in messages."""
    return "an array" if isinstance(source, tuple) else os.fspath(source)


def check(source: Any, which: str) -> None:
    """Makes sure that a source is one; ValueError says which is not, and why."""
    if isinstance(source, tuple) and len(source) == 2:
        array, rate = source
        if isinstance(array, np.ndarray) and isinstance(rate, numbers.Real):
            if 0 < float(rate) < math.inf:
                return
            raise UserError(f"{which} has a rate of {rate}, expected one above 0.")
    elif isinstance(source, str | os.PathLike):
        if "://" in os.fspath(source):
            raise UserError(f"{os.fspath(source)}: sources are local: copy it first.")
        return
    kind = type(source).__name__
    if isinstance(source, tuple):
        kind = f"({', '.join(type(part).__name__ for part in source)})"
    raise UserError(
        f"{which} is a {kind}, expected a path, or a pair (array, rate): a NumPy "
        "array, and how many of its samples or frames make a second. Several sources "
        "are given as a list."
    )


def samples(
    source: Source,
    sample_rate: int,
    wanted: Wanted = ANY,
    longest_s: float | None = None,
) -> np.ndarray:
    """Reads the sound of a source: int16 [S], S > 0, at sample_rate Hz.

    Of a file no more than longest_s seconds, if that is given.
    """
    if isinstance(source, tuple):
        found = _of_waveform(*source, sample_rate)
    else:
        parts = media.decode(source, sample_rate, end_s=longest_s, wanted=wanted)
        found = media.collect(parts)
    if not found.any():
        raise media.MediaError(
            f"{name(source)}: its sound is nothing but zeros."
            if len(found)
            else f"{name(source)}: no sound in it."
        )
    return found


def require_finite(sources: Sequence[Source], embeddings: np.ndarray) -> None:
    """UserError if the embedding of a source is not finite: float32 [N, D]."""
    finite = np.isfinite(embeddings).all(axis=1)
    if not finite.all():
        which = name(sources[int(np.argmin(finite))])
        raise UserError(
            f"{which}: its embedding is not finite. The model's weights hold a NaN, or "
            "have grown too large."
        )


def clip(
    samples: np.ndarray, config: AudioConfig, clip_s: float, alone: bool
) -> dict[str, np.ndarray]:
    """The inputs of the audio branch: the first clip_s seconds, padded to them.

    alone: their own loudest bin is 0 dB, not that of all samples.
    """
    log_mel = audio.long_log_mel(samples, config, dtype=np.float16)
    width = round(clip_s * config.frame_rate)
    n_frames = max(1, min(len(log_mel), width))
    log_mel = np.pad(log_mel[:n_frames], [[0, width - n_frames], [0, 0]])
    if alone:
        clips, one = tf.constant(log_mel[np.newaxis]), tf.constant([n_frames])
        log_mel = clip_cutting.rereferenced(clips, one, config)[0].numpy()
    return {
        "log_mel": log_mel.astype(np.float32),
        "n_frames": np.array(n_frames, np.int32),
    }


def pooled(
    source: Source,
    backbones: Mapping[str, Backbone],
    sample_rate: int,
    wanted: Wanted,
    pooling: str = "max",
    only_keys: bool = False,
) -> dict[str, np.ndarray]:
    """The input of the visual branch of a model of frozen features.

    Args:
        source: a video, or an image if no backbone wants motion.
        backbones: by stream, 2D first.
        sample_rate: at which the length of the sound is counted.
        wanted: which sound that is.
        pooling: as of pool_features.
        only_keys: see the key frames of a file, as the model's records do.
    """
    frames = [_Frames(backbone) for backbone in backbones.values()]
    n_samples = 0
    used = [one.backbone for one in frames]
    for index, array in _seen(source, used, sample_rate, wanted, only_keys):
        if array is None:
            n_samples = 0
        elif index is None:
            n_samples += len(array)
        else:
            frames[index].put(array)
    streams = [one.finish() for one in frames]
    if not all(len(features) for features in streams):
        raise media.MediaError(f"{name(source)}: no picture in it.")
    if n_samples:
        # As clip_cutting counts the steps of a clip that ends with the sound.
        end_s = n_samples / sample_rate
        streams = [
            features[: int(backbone.rate_hz * end_s) + 1]
            for features, backbone in zip(streams, backbones.values(), strict=True)
        ]
    windows = [tf.constant(features)[tf.newaxis] for features in streams]
    masks = [tf.fill(tf.shape(window)[:2], True) for window in windows]
    return {"visual": dataset.pool_features(windows, masks, pooling)[0]}


def crop(source: Source) -> dict[str, tf.Tensor]:
    """The input of the visual branch of a model with an image encoder."""
    if isinstance(source, tuple):
        frames = _checked_frames(*source)
        if len(frames) > 1:
            raise UserError(f"the model sees images, got {len(frames)} frames: give 1.")
        return {"image": images.centre_crop(tf.constant(frames[0]))}
    if not media.is_image(source):
        raise UserError(f"{name(source)}: not an image, and the model sees images.")
    jpeg = still_images.as_jpeg(os.fspath(source), still_images.read(source))
    return {"image": images.centre_crop(images.decode_jpeg(jpeg))}


class _Frames:
    """Frames of one source in, features out, a batch at a time."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self._waiting: list[np.ndarray] = []
        self._features = [np.zeros((0, backbone.feature_dim), np.float16)]

    def put(self, frame: np.ndarray) -> None:
        self._waiting.append(frame)
        if len(self._waiting) == _FEATURES_AT_ONCE * self.backbone.frames_per_feature:
            self._compute()

    def finish(self) -> np.ndarray:
        """float16 [K, D], L2-normalised a step."""
        if self._waiting:
            self._compute()
        return np.concatenate(self._features)

    def _compute(self) -> None:
        batch, self._waiting = np.stack(self._waiting), []
        self._features.append(unit_length(self.backbone(batch)).astype(np.float16))


def _seen(
    source: Source,
    backbones: list[Backbone],
    sample_rate: int,
    wanted: Wanted,
    only_keys: bool,
) -> Iterator[tuple[int | None, np.ndarray | None]]:
    """Yields (which backbone's, frame) and a file's sound; see media.decode."""
    views = [media.View(b.fps, b.short_side, b.crop, only_keys) for b in backbones]
    if isinstance(source, tuple):
        frames, fps = _checked_frames(*source), float(source[1])
        for index, view in enumerate(views):
            for frame in media.pick_frames(frames, fps, view):
                yield index, frame
    elif media.is_image(source):
        image = still_images.read(source)
        for index, backbone in enumerate(backbones):
            yield index, still_images.as_frame(image, backbone)
    else:
        rate = sample_rate if media.has_sound(source) else None
        yield from media.decode(source, rate, views, wanted=wanted)


def _of_waveform(waveform: np.ndarray, rate_hz: float, sample_rate: int) -> np.ndarray:
    if not waveform.size:
        raise UserError("a waveform has no samples.")
    lowest, highest = media.MIN_RATE_HZ, media.MAX_RATE_HZ
    if waveform.ndim != 1 or not lowest <= rate_hz <= highest or rate_hz % 1:
        raise UserError(
            f"a waveform is an array [S] and a whole rate from {lowest} to {highest} "
            f"Hz, got shape {list(waveform.shape)} and {rate_hz}. Mix channels to "
            "one; frames of video are for embed_video."
        )
    if waveform.dtype == np.int16:
        waveform = waveform.astype(np.float32) / 32768
    elif not np.issubdtype(waveform.dtype, np.floating):
        raise UserError(
            f"a waveform is int16, or numbers in [-1, 1], got {waveform.dtype}."
        )
    # An encoder overshoots by a little; NaN is above nothing.
    if not np.abs(waveform).max() <= _LOUDEST:
        raise UserError(
            "a waveform is int16, or finite numbers in [-1, 1], got some up to "
            f"{np.abs(waveform).max():g}."
        )
    waveform = waveform.astype(np.float32)
    if rate_hz != sample_rate:
        waveform = audio.resample(waveform, int(rate_hz), sample_rate)
    return np.clip(np.round(waveform * 32768.0), -32768, 32767).astype(np.int16)


def _checked_frames(frames: np.ndarray, fps: float) -> np.ndarray:
    good = frames.ndim == 4 and frames.shape[-1] == 3 and frames.size
    if frames.dtype != np.uint8 or not good:
        raise UserError(
            "frames are an array uint8 [K, H, W, 3] and their number a second, got "
            f"{frames.dtype} {list(frames.shape)} and {fps}."
        )
    return frames
