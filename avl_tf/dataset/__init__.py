"""From shards to batches of clips: the only place that orders tf.data operations.

A batch holds
    log_mel   [B, T, F], dB, zeros behind each clip's end; float16 as stored in
              training, where a batch may be large, float32 in evaluation
    n_frames  int32 [B], the clip's true length in frames, at most T
    visual    float32 [B, D], each stream's maximum over the clip, L2-normalised; if the
              records have frozen features
    image     uint8 [B, 224, 224, 3], the clip's crop; if the records have images
    clip_id   string [B], "record@start-end"
Everything drawn at random is a function of (seed, epoch, record id), so that neither
the number of threads nor a restart changes what is drawn.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf import files, images
from avl_tf.dataset import clip_cutting, training_records
from avl_tf.dataset.clip_cutting import pool_features
from avl_tf.dataset.training_records import open_training_records
from avl_tf.errors import UserError
from avl_tf.records import RecordSet, record_index
from avl_tf.records.schema import parse
from avl_tf.settings.clips import ClipConfig

__all__ = [
    "ClipConfig",
    "evaluation_batches",
    "open_training_records",
    "pool_features",
    "read",
    "steps_per_epoch",
    "train_batches",
]

_OPEN_SHARDS = 16
_READ_AT_ONCE = 8  # remote shards: a read waits for the server
# Recordings' clips that are held back to be mixed, in memory.
_SHUFFLED_BYTES = 256 << 20
_PREFETCHED = 2


def train_batches(
    records: RecordSet,
    clips: ClipConfig,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    worker: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Yields one worker's shuffled batches for ever, from step first_step on.

    Each epoch deals the shards to the workers anew. It visits each record once in a new
    order and drops the clips that do not fill a batch. All workers take as many steps:
    one that was dealt too few clips goes round its shards again, with other windows,
    and one that was dealt too many drops the rest.

    Two calls with the same arguments yield the same batches; one with a later
    first_step yields the tail of the other, after making the batches of its epoch that
    it leaves out.

    Args:
        records: from open_training_records.
        clips: how clips are cut.
        batch_size: clips in a batch of this worker's.
        seed: of the order and the windows.
        first_step: of the whole training, not of an epoch.
        worker: (index, number of workers).

    Raises:
        ValueError: an epoch's clips do not fill one batch of all workers, or there are
            fewer shards than workers.
    """
    index, n_workers = worker
    steps = steps_per_epoch(records, clips, batch_size * n_workers, n_workers)
    first_epoch, skipped = divmod(first_step, steps)
    spans = _Spans(records, clips)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        # Of this traced function alone: the program's global seed must not count.
        tf.random.set_seed(1)
        own = spans.deal(_draw(seed, tf.strings.format("deal {}", epoch)), *worker)
        n_rounds = -(
            -steps * batch_size // tf.reduce_sum(tf.gather(spans.n_clips, own))
        )

        def one_round(round_number: tf.Tensor) -> tf.data.Dataset:
            key = tf.strings.format("order {} {}", (epoch, round_number))
            order_seed = _draw(seed, key)
            order = tf.gather(own, _permutation(tf.size(own), order_seed))

            def sample(record: tf.Tensor) -> dict[str, tf.Tensor]:
                parsed = parse(record, records.spec)
                drawn = _draw(seed, parsed["id"]), epoch + round_number * 2**32
                return clip_cutting.cut(parsed, clips, records.spec, drawn)

            cut = spans.read(order).map(sample, tf.data.AUTOTUNE)
            # Not before: records are larger than their clips, and memory that one
            # thread fills and another empties long after is slow to get.
            return cut.shuffle(_n_shuffled(records, clips), seed=order_seed)

        cut = tf.data.Dataset.range(n_rounds).flat_map(one_round)
        if clips.shuffle_clips:
            order_seed = _draw(seed, tf.strings.format("clips {}", epoch))
            mixed = cut.unbatch().shuffle(clips.shuffle_clips, seed=order_seed)
            batches = mixed.batch(batch_size, drop_remainder=True)
        else:
            batches = cut.rebatch(batch_size, drop_remainder=True)
        return batches.take(steps).skip(
            tf.where(epoch == first_epoch, tf.cast(skipped, tf.int64), 0)
        )

    epochs = tf.data.Dataset.range(first_epoch, 2**31)
    return epochs.flat_map(epoch_batches).prefetch(_PREFETCHED)


def steps_per_epoch(
    records: RecordSet, clips: ClipConfig, batch_size: int, n_workers: int = 1
) -> int:
    """Counts the whole batches of an epoch, batch_size clips over all workers.

    Raises:
        ValueError: there is none, or there are fewer shards than workers.
    """
    n_clips = clips.n_clips(records)
    if n_clips < batch_size:
        more = ["--clips_per_recording"] if clips.clip_sampling == "random" else []
        more += ["--fraction"] if clips.fraction < 1 else []
        raise UserError(
            f"{records.name}: an epoch has {n_clips} clips, fewer than one batch of "
            f"{batch_size}. Lower --batch_size{' or raise ' if more else ''}"
            f"{' or '.join(more)}."
        )
    n_shards = len({span.shard for span in records.spans if clips.n_clips(span)})
    if n_shards < n_workers:
        raise UserError(
            f"{records.name}: {n_shards} shards cannot be dealt to {n_workers} "
            "workers, one each at least. Start fewer workers, or extract again with a "
            "lower --recordings_per_shard."
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
        parsed = parse(record, records.spec)
        return clip_cutting.cut(parsed, clips, records.spec, window_seed=None)

    def as_float(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**batch, "log_mel": tf.cast(batch["log_mel"], tf.float32)}

    serialized = tf.data.TFRecordDataset(records.paths)
    batches = serialized.map(cut, tf.data.AUTOTUNE).rebatch(batch_size)
    return batches.map(as_float).prefetch(_PREFETCHED)


def read(batches: Iterable, records: RecordSet) -> Iterator:
    """Iterates over a dataset of records; a damaged one is a ValueError naming it.

    So is a shard that is gone.
    """
    try:
        yield from batches
    except tf.errors.NotFoundError as error:
        raise UserError(
            f"{records.name}: {files.reason(error)}. Was it extracted anew meanwhile, "
            "from another manifest? Then this command has to begin anew."
        ) from error
    except (
        tf.errors.DataLossError,
        tf.errors.InvalidArgumentError,
        UnicodeDecodeError,  # TensorFlow's message quotes the record
    ) as error:
        logging.info("%s: looking for the damaged record", records.name)
        listed = record_index.verify(records, record_index.list_records(records))
        damaged = next((entry for entry in listed if entry.fault), None)
        if damaged is None:
            raise
        raise UserError(training_records.complaint(records, damaged)) from error


class _Spans:
    """The spans of a set as tensors, to be dealt and read in the order of an epoch."""

    def __init__(self, records: RecordSet, clips: ClipConfig):
        # A shard is empty if all its recordings failed: nobody can live on it.
        spans = [span for span in records.spans if clips.n_clips(span)]
        shards = sorted({span.shard for span in spans})
        place = {shard: at for at, shard in enumerate(shards)}
        self.paths = [records.path(span.shard) for span in spans]
        self.offsets = np.array([span.offset for span in spans], np.int64)
        self.n_records = np.array([span.n_records for span in spans], np.int64)
        self.n_clips = np.array([clips.n_clips(span) for span in spans], np.int64)
        self.shard = np.array([place[span.shard] for span in spans])
        self.shard_clips = np.bincount(self.shard, self.n_clips).astype(np.int64)
        self.at_once = _READ_AT_ONCE if files.is_remote(records.folder) else None

    def deal(self, seed: tf.Tensor, index: int, n_workers: int) -> tf.Tensor:
        """Deals the shards to workers; returns indices of spans of worker `index`.

        One shard after the other, in an order of the seed, goes to the worker with the
        fewest clips so far.
        """
        if n_workers == 1:
            return tf.range(len(self.shard))
        order = _permutation(len(self.shard_clips), seed)

        def give(before, n_clips):
            clips_of, _ = before
            poorest = tf.argmin(clips_of, output_type=tf.int32)
            return clips_of + n_clips * tf.one_hot(
                poorest, n_workers, dtype=tf.int64
            ), poorest

        start = tf.zeros([n_workers], tf.int64), 0
        _, given = tf.scan(give, tf.gather(self.shard_clips, order), start)
        owner = tf.scatter_nd(order[:, tf.newaxis], given, [len(self.shard_clips)])
        own = tf.where(tf.gather(owner, self.shard) == index)[:, 0]
        return tf.cast(own, tf.int32)

    def read(self, order: tf.Tensor) -> tf.data.Dataset:
        """The serialised records of spans, several shards side by side."""
        places = (self.paths, self.offsets, self.n_records)
        chosen = tuple(tf.gather(column, order) for column in places)
        # Reading ahead costs memory, and with it time, where nothing waits.
        return tf.data.Dataset.from_tensor_slices(chosen).interleave(
            lambda path, offset, n: record_index.records_at(path, offset).take(n),
            _OPEN_SHARDS,
            num_parallel_calls=self.at_once,
        )


def _n_shuffled(records: RecordSet, clips: ClipConfig) -> int:
    """How many recordings' clips fit in _SHUFFLED_BYTES."""
    n_bins = clips.clip_s * records.spec.audio.frame_rate * records.spec.audio.n_mels
    clip_bytes = 2 * n_bins + 4 * sum(records.spec.visual_dims)
    clip_bytes += 3 * images.SIDE**2 if records.spec.images else 0
    recording_bytes = clip_bytes * clips.n_clips(records) / records.n_records
    return max(1, min(records.n_records, int(_SHUFFLED_BYTES / recording_bytes)))


def _permutation(n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The numbers below n in an order of the seed, int32 [n]."""
    return tf.argsort(tf.random.stateless_uniform([n], [seed, 0]), stable=True)


def _draw(seed: int, text: tf.Tensor) -> tf.Tensor:
    """A seed from a text and the run's seed, the same on every machine."""
    return tf.strings.to_hash_bucket_fast(
        tf.strings.join([str(seed), " ", text]), 2**31
    )


def languages(records: RecordSet) -> tuple[str, ...]:
    """The languages that a set joins, each with a log-mel of its own; () of one."""
    return tuple(getattr(records, "sets", ()))
