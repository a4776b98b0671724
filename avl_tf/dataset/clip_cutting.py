"""From a record to its clips: where they start, their log-mel, their visual vector."""

from collections.abc import Sequence

import tensorflow as tf

from avl_tf import audio, images
from avl_tf.dataset import neighbors
from avl_tf.records.spec import RecordsSpec
from avl_tf.settings.clips import ClipConfig

_MOST_SAMPLES = 2.0**31 - 2**7  # the largest float32 that is an int32


def cut(
    parsed: dict[str, tf.Tensor],
    clips: ClipConfig,
    spec: RecordsSpec,
    window_seed: tuple[tf.Tensor, tf.Tensor] | None,
    shortest: tf.Tensor | None = None,
    n_candidates: int = 0,
) -> dict[str, tf.Tensor]:
    """Cuts a record into its clips.

    Args:
        parsed: what records.parse returned.
        clips: how; of random windows the starts are drawn with window_seed.
        spec: of the record's set.
        window_seed: two numbers; None in evaluation, where nothing is drawn.
        shortest: the frames that random windows are drawn from; None is all.
        n_candidates: K windows of sound for each clip; 0 is its own.

    Returns:
        The fields of a batch (see dataset) with the record's M clips in place of B;
        log_mel is float16.

    Differs: a clip that starts behind the last feature step takes the last step (the
    authors print a line and take zeros).
    """
    starts_s, ends_s = _spans(parsed, clips, spec, window_seed, shortest)
    log_mel, n_frames = _heard(parsed, clips, spec, starts_s, ends_s, n_candidates)
    clip_id = tf.strings.join(
        [
            parsed["id"],
            "@",
            tf.strings.as_string(starts_s, precision=2),
            "-",
            tf.strings.as_string(ends_s, precision=2),
        ]
    )
    batch = {"log_mel": log_mel, "n_frames": n_frames, "clip_id": clip_id}
    if parsed["features"]:
        batch["visual"] = seen(parsed, spec, starts_s, ends_s)
    if spec.images:
        batch["image"] = _crops(parsed["image"], tf.size(starts_s), window_seed)
    return batch


def seen(
    parsed: dict[str, tf.Tensor],
    spec: RecordsSpec,
    starts_s: tf.Tensor,
    ends_s: tf.Tensor,
) -> tf.Tensor:
    """Pools the features of a record over spans of it.

    Args:
        parsed: what records.parse returned; with a feature stream at least.
        spec: of the record's set.
        starts_s, ends_s: float32 [M], seconds from the record's start.

    Returns:
        As pool_features, by spec.pooling. A stream's steps [int(rate * start),
        int(rate * end) + 1), or the one in their middle.
    """
    pooling = spec.pooling
    rates = [stream.rate_hz for stream in spec.streams.values()]
    return _visual(
        [
            features.maxima(
                _feature_steps(features.n_steps, rate, starts_s, ends_s, pooling)
            )
            for features, rate in zip(parsed["features"], rates, strict=True)
        ]
    )


def pool_features(
    windows: Sequence[tf.Tensor], masks: Sequence[tf.Tensor], pooling: str = "max"
) -> tf.Tensor:
    """Pools the visual streams of clips to one vector each.

    Args:
        windows: for each stream [M, K, D].
        masks: for each stream bool [M, K], true where a time step counts; at least one
            step a clip must. For center the first n are true.
        pooling: max, over time; or center, the step (n - 1) // 2 of n.

    Returns:
        float32 [M, sum of D]: each stream's features, L2-normalised by itself, side by
        side.

    Source: authors' youtube_dataloader.py and youcook_dataloader.py; Boggust et al.
        2019, for the centre.
    """
    maxima = []
    for window, mask in zip(windows, masks, strict=True):
        if pooling == "center":
            n_steps = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
            maxima.append(tf.gather(window, (n_steps - 1) // 2, batch_dims=1))
            continue
        counted = tf.where(mask[..., tf.newaxis], window, window.dtype.min)
        maxima.append(tf.reduce_max(counted, axis=1))
    return _visual(maxima)


def _visual(maxima: Sequence[tf.Tensor]) -> tf.Tensor:
    normalised = [
        tf.math.l2_normalize(tf.cast(highest, tf.float32), axis=-1)
        for highest in maxima
    ]
    return tf.concat(normalised, axis=-1)


def _crops(jpeg, n_clips, window_seed):
    """The image of a record for each of its clips, uint8 [M, H, W, 3]."""
    image = images.decode_jpeg(jpeg)
    if window_seed is None:
        return tf.repeat(images.centre_crop(image)[tf.newaxis], n_clips, axis=0)
    # Of its own: the starts of the windows are drawn with the seed itself.
    seed = tf.random.fold_in(_as_seed(window_seed), 1)
    return images.random_crops(image, n_clips, seed)


def _as_seed(window_seed):
    return [tf.cast(part, tf.int64) for part in window_seed]


def _spans(parsed, clips: ClipConfig, spec: RecordsSpec, window_seed, shortest):
    """Starts and ends [M] of a record's clips in seconds from its start."""
    end_s = parsed["end_s"] - parsed["start_s"]
    if clips.clip_sampling == "random":
        # Whole seconds with replacement, one second short of the end as the authors'.
        n_frames = parsed["log_mel"].n_steps if shortest is None else shortest
        n_frames = tf.cast(n_frames, tf.float32)
        duration_s = tf.floor(n_frames / spec.audio.frame_rate)
        latest = tf.cast(duration_s - tf.math.ceil(clips.clip_s + 1.0), tf.int32)
        starts = tf.random.stateless_uniform(
            [clips.clips_per_recording],
            seed=_as_seed(window_seed),
            maxval=tf.maximum(latest, 1),
            dtype=tf.int32,
        )
        starts_s = tf.cast(starts, tf.float32)
        return starts_s, starts_s + clips.clip_s
    whole = tf.zeros([1]), end_s[tf.newaxis]
    if clips.clip_sampling == "whole":
        return whole
    annotated = parsed["clip_starts_s"], parsed["clip_ends_s"]
    if clips.min_clip_s:
        annotated = neighbors.grown(*annotated, clips.min_clip_s)
    return tf.cond(tf.size(annotated[0]) > 0, lambda: annotated, lambda: whole)


def _heard(
    parsed, clips: ClipConfig, spec: RecordsSpec, starts_s, ends_s, n_candidates
):
    """_log_mels of the clips, or of the candidates of each, [M, K, T, F] and [M, K]."""
    stored = parsed["log_mel"]
    if not n_candidates:
        return _log_mels(stored, clips, spec, starts_s, ends_s)
    end_s = tf.cast(stored.n_steps, tf.float32) / spec.audio.frame_rate
    starts_s = tf.reshape(
        neighbors.candidates(starts_s, clips.clip_s, end_s, n_candidates), [-1]
    )
    log_mel, n_frames = _log_mels(
        stored, clips, spec, starts_s, starts_s + clips.clip_s
    )
    by_clip = [-1, n_candidates]
    log_mel = tf.reshape(log_mel, [*by_clip, *log_mel.shape[1:]])
    return log_mel, tf.reshape(n_frames, by_clip)


def _log_mels(stored, clips: ClipConfig, spec: RecordsSpec, starts_s, ends_s):
    """Log-mels [M, T, F] of the clips, and their true lengths [M] in frames."""
    # librosa.time_to_frames(start, n_fft=window): the frame whose window starts there.
    start_sample = starts_s * spec.audio.sample_rate - spec.audio.window_length / 2
    start = _clipped(tf.floor(start_sample / spec.audio.hop_length), stored.n_steps)
    # Rounded: the difference of two times in single precision misses by a little.
    n_samples = tf.round((ends_s - starts_s) * spec.audio.sample_rate)
    n_samples = tf.cast(tf.minimum(n_samples, _MOST_SAMPLES), tf.int32)
    n_frames = audio.n_frames(n_samples, spec.audio)
    width = round(clips.clip_s * spec.audio.frame_rate)
    n_frames = tf.minimum(tf.minimum(n_frames, stored.n_steps - start), width)
    n_frames = tf.maximum(n_frames, 1)
    log_mel = stored.windows(start, n_frames, width)
    if clips.log_mel_reference == "clip":
        log_mel = rereferenced(log_mel, n_frames, spec.audio)
    return log_mel, n_frames


def rereferenced(
    log_mel: tf.Tensor, n_frames: tf.Tensor, config: audio.AudioConfig
) -> tf.Tensor:
    """Makes each clip's own loudest bin its 0 dB.

    Args:
        log_mel: float16 [M, T, F], in dB.
        n_frames: int32 [M], the true lengths.
        config: AudioConfig.

    Returns:
        float16 [M, T, F], zeros behind the end.
    """
    valid = tf.sequence_mask(n_frames, tf.shape(log_mel)[1])[..., tf.newaxis]
    level = tf.cast(log_mel, tf.float32)
    lowest = level.dtype.min
    loudest = tf.reduce_max(tf.where(valid, level, lowest), [1, 2], keepdims=True)
    level = tf.maximum(level - loudest, -config.dynamic_range_db)
    return tf.cast(tf.where(valid, level, 0.0), log_mel.dtype)


def _feature_steps(n_stored, rate: float, starts_s, ends_s, pooling: str):
    """Steps [int(rate * start), int(rate * end) + 1) of each clip, as indices [M, N].

    A clip of fewer than N steps repeats its last: no maximum changes. Of the centre
    there is one.
    """
    first = _clipped(rate * starts_s, n_stored)
    behind = tf.maximum(_clipped(rate * ends_s, n_stored), first) + 1
    if pooling == "center":
        return (first + (behind - 1 - first) // 2)[:, tf.newaxis]
    index = first[:, tf.newaxis] + tf.range(tf.reduce_max(behind - first))
    return tf.minimum(index, behind[:, tf.newaxis] - 1)


def _clipped(step, n_stored):
    """A step as an index of what is stored, rounded down; float32 to int32."""
    last = tf.cast(n_stored - 1, tf.float32)  # before a cast that would overflow
    return tf.cast(tf.clip_by_value(step, 0.0, last), tf.int32)
