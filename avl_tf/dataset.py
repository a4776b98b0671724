"""From shards to batches of clips: the only place that orders tf.data operations.

A batch holds
    log_mel   float32 [B, T, F], dB, zeros behind each clip's end
    n_frames  int32 [B], the clip's true length in frames, at most T
    visual    float32 [B, D], each stream's maximum over the clip, L2-normalised
    clip_id   string [B], "record@start-end"
Everything drawn at random is a function of (seed, epoch, record id), so that neither
the number of workers nor a restart changes what is drawn.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf

from avl_tf import audio
from avl_tf.records import RecordSet, RecordsSpec, parse
from avl_tf.settings import setting

SAMPLINGS = ("random", "annotated", "whole")
_OPEN_SHARDS = 16
_SHUFFLED_RECORDS = 1024


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """How clips are cut from training records."""

    clip_sampling: str = setting(
        "random",
        "Training clips: random windows of whole recordings (the papers), the "
        "annotated clips, or each recording as a whole.",
        choices=SAMPLINGS,
    )
    clip_s: float = setting(
        10.0,
        "Seconds a training clip: random windows are as long, other clips are padded "
        "or cut to it (the paper: 10 in pre-training, 51.2 in fine-tuning).",
        lower=0.1,
    )
    clips_per_recording: int = setting(
        32, "Random windows drawn from a recording each epoch (the paper: 32).", lower=1
    )
    shuffle_clips: int = setting(
        0,
        "Clips held back to be mixed across recordings; 0 fills batches with whole "
        "recordings' windows, as the authors.",
        lower=0,
    )
    log_mel_reference: str = setting(
        "stored",
        "Whose loudest bin is 0 dB: as stored in the records, or each clip's own.",
        choices=("stored", "clip"),
    )

    def n_clips(self, records: RecordSet) -> int:
        """Counts the clips of one epoch."""
        if self.clip_sampling == "random":
            return records.n_records * self.clips_per_recording
        if self.clip_sampling == "annotated":
            return records.n_clips
        return records.n_records


def train_batches(
    records: RecordSet,
    clips: ClipConfig,
    batch_size: int,
    seed: int,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Yields shuffled batches for ever, from step first_step of the training on.

    Each epoch visits every record once in a new order and drops the clips that do not
    fill a batch. Two calls with the same arguments yield the same batches; one with a
    later first_step yields the tail of the other.

    Raises:
        ValueError: an epoch's clips do not fill one batch.
    """
    steps = steps_per_epoch(records, clips, batch_size)
    first_epoch, skipped = divmod(first_step, steps)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        # Of this traced function alone: the program's global seed must not count.
        tf.random.set_seed(1)
        order_seed = _draw(seed, tf.strings.format("order {}", epoch))
        paths = tf.data.Dataset.from_tensor_slices(records.paths)
        paths = paths.shuffle(len(records.shards), seed=order_seed)
        serialized = paths.interleave(
            tf.data.TFRecordDataset, _OPEN_SHARDS, num_parallel_calls=2
        )
        serialized = serialized.shuffle(_SHUFFLED_RECORDS, seed=order_seed)

        def sample(record: tf.Tensor) -> dict[str, tf.Tensor]:
            parsed = parse(record, records.spec)
            window_seed = (_draw(seed, parsed["id"]), epoch)
            return _cut(parsed, clips, records.spec, window_seed)

        windows = serialized.map(sample, tf.data.AUTOTUNE).unbatch()
        if clips.shuffle_clips:
            windows = windows.shuffle(clips.shuffle_clips, seed=order_seed)
        batches = windows.batch(batch_size, drop_remainder=True)
        return batches.skip(
            tf.where(epoch == first_epoch, tf.cast(skipped, tf.int64), 0)
        )

    epochs = tf.data.Dataset.range(first_epoch, 2**31)
    return epochs.flat_map(epoch_batches).map(_as_float).prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(records: RecordSet, clips: ClipConfig, batch_size: int) -> int:
    """Counts the whole batches of an epoch; ValueError if there is none."""
    n_clips = clips.n_clips(records)
    if n_clips < batch_size:
        raise ValueError(
            f"{records.name}: an epoch has {n_clips} clips, fewer than one batch of "
            f"{batch_size}. Lower --batch_size or raise --clips_per_recording."
        )
    return n_clips // batch_size


def evaluation_batches(
    records: RecordSet,
    clip_s: float,
    batch_size: int,
    log_mel_reference: str = "stored",
) -> tf.data.Dataset:
    """Yields every annotated clip once, in a fixed order, the last batch included.

    A record without a clip list is one clip. Clips are padded or cut to clip_s.
    """
    clips = ClipConfig("annotated", clip_s, log_mel_reference=log_mel_reference)

    def cut(record: tf.Tensor) -> dict[str, tf.Tensor]:
        return _cut(parse(record, records.spec), clips, records.spec, (0, 0))

    windows = (
        tf.data.TFRecordDataset(records.paths).map(cut, tf.data.AUTOTUNE).unbatch()
    )
    return windows.batch(batch_size).map(_as_float).prefetch(tf.data.AUTOTUNE)


def read(batches: Iterable, records: RecordSet) -> Iterator:
    """Iterates over a dataset of records; a damaged shard is a ValueError naming it."""
    try:
        yield from batches
    except tf.errors.DataLossError as error:
        damaged = records.damaged_shards() or records.paths
        reason = re.sub(r"{{.*?}}", "", error.message.splitlines()[0]).strip()
        raise ValueError(
            f"{', '.join(damaged)}: damaged ({reason}). Delete it and run the "
            "same data_prep.extract again: it makes what is missing."
        ) from error


def pool_features(
    windows: Sequence[tf.Tensor], masks: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Pools the visual streams of clips to one vector each.

    Args:
        windows: for each stream [M, K, D].
        masks: for each stream bool [M, K], true where a time step counts; at least one
            step a clip must.

    Returns:
        float32 [M, sum of D]: the maximum over time of each stream, L2-normalised by
        itself, side by side.

    Source: authors' youtube_dataloader.py and youcook_dataloader.py.
    """
    pooled = []
    for window, mask in zip(windows, masks, strict=True):
        lowest = window.dtype.min
        highest = tf.reduce_max(tf.where(mask[..., tf.newaxis], window, lowest), axis=1)
        pooled.append(tf.math.l2_normalize(tf.cast(highest, tf.float32), axis=-1))
    return tf.concat(pooled, axis=-1)


def _cut(parsed, clips: ClipConfig, spec: RecordsSpec, window_seed):
    """Cuts a parsed record into its clips: the batch's fields with M in place of B."""
    starts_s, ends_s = _spans(parsed, clips, spec, window_seed)
    # librosa.time_to_frames(start, n_fft=window): the frame whose window starts there.
    start_sample = starts_s * spec.audio.sample_rate - spec.audio.window_length / 2
    start = tf.cast(tf.floor(start_sample / spec.audio.hop_length), tf.int32)
    n_stored = tf.shape(parsed["log_mel"])[0]
    start = tf.clip_by_value(start, 0, n_stored - 1)
    # Rounded: the difference of two times in single precision misses by a little.
    n_samples = tf.round((ends_s - starts_s) * spec.audio.sample_rate)
    n_frames = audio.n_frames(tf.cast(n_samples, tf.int32), spec.audio)
    width = round(clips.clip_s * spec.audio.frame_rate)
    n_frames = tf.minimum(tf.minimum(n_frames, n_stored - start), width)

    steps = tf.range(width)
    frame = tf.minimum(start[:, tf.newaxis] + steps, n_stored - 1)
    valid = (steps < n_frames[:, tf.newaxis])[..., tf.newaxis]
    log_mel = tf.gather(parsed["log_mel"], frame)
    if clips.log_mel_reference == "clip":
        lowest = log_mel.dtype.min
        loudest = tf.reduce_max(tf.where(valid, log_mel, lowest), [1, 2], keepdims=True)
        floor = tf.cast(-spec.audio.dynamic_range_db, log_mel.dtype)
        log_mel = tf.maximum(log_mel - loudest, floor)
    log_mel = tf.where(valid, log_mel, tf.zeros((), log_mel.dtype))

    rates = [
        stream.rate_hz for stream in (spec.features_2d, spec.features_3d) if stream
    ]
    windows, masks = [], []
    for features, rate in zip(parsed["features"], rates, strict=True):
        window, mask = _feature_windows(features, rate, starts_s, ends_s)
        windows.append(window)
        masks.append(mask)
    clip_id = tf.strings.join(
        [
            parsed["id"],
            "@",
            tf.strings.as_string(starts_s, precision=2),
            "-",
            tf.strings.as_string(ends_s, precision=2),
        ]
    )
    return {
        "log_mel": log_mel,
        "n_frames": n_frames,
        "visual": pool_features(windows, masks),
        "clip_id": clip_id,
    }


def _spans(parsed, clips: ClipConfig, spec: RecordsSpec, window_seed):
    """Starts and ends [M] of a record's clips in seconds from its start."""
    end_s = parsed["end_s"] - parsed["start_s"]
    if clips.clip_sampling == "random":
        # Whole seconds with replacement, one second short of the end as the authors'.
        n_frames = tf.cast(tf.shape(parsed["log_mel"])[0], tf.float32)
        duration_s = tf.floor(n_frames / spec.audio.frame_rate)
        latest = tf.cast(duration_s - tf.math.ceil(clips.clip_s + 1.0), tf.int32)
        starts = tf.random.stateless_uniform(
            [clips.clips_per_recording],
            seed=[tf.cast(part, tf.int64) for part in window_seed],
            maxval=tf.maximum(latest, 1),
            dtype=tf.int32,
        )
        starts_s = tf.cast(starts, tf.float32)
        return starts_s, starts_s + clips.clip_s
    whole = tf.zeros([1]), end_s[tf.newaxis]
    if clips.clip_sampling == "whole":
        return whole
    annotated = parsed["clip_starts_s"], parsed["clip_ends_s"]
    return tf.cond(tf.size(annotated[0]) > 0, lambda: annotated, lambda: whole)


def _feature_windows(features, rate, starts_s, ends_s):
    """Feature steps [int(rate * start), int(rate * end) + 1) of each clip, and a mask.

    Differs: a clip that starts behind the last step takes the last step (the authors
    print a line and take zeros).
    """
    n_stored = tf.shape(features)[0]
    first = tf.minimum(tf.cast(rate * starts_s, tf.int32), n_stored - 1)
    behind = tf.minimum(tf.cast(rate * ends_s, tf.int32) + 1, n_stored)
    behind = tf.maximum(behind, first + 1)
    step = tf.range(tf.reduce_max(behind - first))
    index = first[:, tf.newaxis] + step
    window = tf.gather(features, tf.minimum(index, n_stored - 1))
    return window, index < behind[:, tf.newaxis]


def _as_float(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {**batch, "log_mel": tf.cast(batch["log_mel"], tf.float32)}


def _draw(seed: int, text: tf.Tensor) -> tf.Tensor:
    """A seed from a text and the run's seed, the same on every machine."""
    return tf.strings.to_hash_bucket_fast(
        tf.strings.join([str(seed), " ", text]), 2**31
    )
