"""From shards to batches of clips: the only place that orders tf.data operations.

A batch holds
    log_mel   [B, T, F], dB, zeros behind each clip's end; float16 as stored in
              training, where a batch may be large, float32 in evaluation
    n_frames  int32 [B], the clip's true length in frames, at most T
    visual    float32 [B, D], each stream's maximum over the clip, L2-normalised; if the
              records have frozen features
    image     uint8 [B, 224, 224, 3], the clip's crop; if the records have images
    clip_id   string [B], "record@start-end"
    group     int64 [B], the same for clips of one recording; if it is asked for
With candidates of sound, log_mel is [B, K, T, F] and n_frames [B, K]: of the clip, then
of the windows beside it, the nearest first (see neighbors.candidates).
That of a joined set has log_mel:LANGUAGE and n_frames:LANGUAGE of each language; what
is seen and clip_id are of the first language's record (joined by similarity, of each
language's in turn), and group is of what joins them.
No function of tensors here has Python's own control flow, so none goes through
AutoGraph, which takes longer than to read a small set.
Everything drawn at random is a function of (seed, epoch, record id), so that neither
the number of threads nor a restart changes what is drawn.
"""

from collections.abc import Iterable, Iterator

import tensorflow as tf

from avl_tf.dataset import clip_cutting, dealing, training_records
from avl_tf.dataset.clip_cutting import pool_features
from avl_tf.dataset.joined import (
    JoinedSet,
    Records,
    join,
    open_training_records,
    plain_sets,
)
from avl_tf.errors import UserError
from avl_tf.records.schema import parse
from avl_tf.settings.clips import ClipConfig

__all__ = [
    "ClipConfig",
    "JoinedSet",
    "Records",
    "evaluation_batches",
    "join",
    "open_training_records",
    "plain_sets",
    "pool_features",
    "read",
    "steps_per_epoch",
    "train_batches",
]

_PREFETCHED = 2


def train_batches(
    records: Records,
    clips: ClipConfig,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    worker: tuple[int, int] = (0, 1),
    with_groups: bool = False,
    n_candidates: int = 0,
) -> tf.data.Dataset:
    """Yields one worker's shuffled batches for ever, from step first_step on.

    Each epoch deals the shards, or the tuples of a joined set, to the workers anew. It
    visits each record once in a new order and drops the clips that do not fill a batch.
    All workers take as many steps: one that was dealt too few clips goes round what it
    has again, with other windows, and one that was dealt too many drops the rest.

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
        with_groups: give batches of a plain set a group too.
        n_candidates: K windows of sound for each clip, of a plain set's random windows;
            0 is the clip's own, without an axis of them.

    Raises:
        ValueError: an epoch's clips do not fill one batch of all workers, or there are
            fewer shards, or tuples, than workers.
    """
    index, n_workers = worker
    steps = steps_per_epoch(records, clips, batch_size * n_workers, n_workers)
    first_epoch, skipped = divmod(first_step, steps)
    source: dealing.Spans | dealing.Tuples
    if isinstance(records, JoinedSet):
        source = dealing.Tuples(records, clips, seed)
    else:
        source = dealing.Spans(records, clips, seed, with_groups, n_candidates)

    @tf.autograph.experimental.do_not_convert
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        # Of this traced function alone: the program's global seed must not count.
        tf.random.set_seed(1)
        deal_seed = dealing.draw(seed, tf.strings.format("deal {}", epoch))
        own = source.deal(deal_seed, *worker)
        n_rounds = -(
            -steps * batch_size // tf.reduce_sum(tf.gather(source.n_clips, own))
        )

        def one_round(round_number: tf.Tensor) -> tf.data.Dataset:
            key = tf.strings.format("order {} {}", (epoch, round_number))
            order_seed = dealing.draw(seed, key)
            order = tf.gather(own, dealing.permutation(tf.size(own), order_seed))
            return source.cut(order, order_seed, epoch + round_number * 2**32)

        cut = tf.data.Dataset.range(n_rounds).flat_map(one_round)
        if clips.shuffle_clips:
            order_seed = dealing.draw(seed, tf.strings.format("clips {}", epoch))
            mixed = cut.unbatch().shuffle(clips.shuffle_clips, seed=order_seed)
            batches = mixed.batch(batch_size, drop_remainder=True)
        else:
            batches = cut.rebatch(batch_size, drop_remainder=True)
        return batches.take(steps).skip(
            tf.where(epoch == first_epoch, tf.cast(skipped, tf.int64), 0)
        )

    epochs = tf.data.Dataset.range(first_epoch, 2**31)
    return _untuned(epochs.flat_map(epoch_batches).prefetch(_PREFETCHED))


def steps_per_epoch(
    records: Records, clips: ClipConfig, batch_size: int, n_workers: int = 1
) -> int:
    """Counts the whole batches of an epoch, batch_size clips over all workers.

    Raises:
        ValueError: there is none, or fewer shards, or tuples, than workers.
    """
    n_clips = clips.n_clips(records)
    if n_clips < batch_size:
        more = ["--clips_per_recording"] if clips.clip_sampling == "random" else []
        more += ["--fraction"] if clips.fraction < 1 else []
        more += ["--language_fraction"] if clips.language_fraction else []
        raise UserError(
            f"{records.name}: an epoch has {n_clips} clips, fewer than one batch of "
            f"{batch_size}. Lower --batch_size{' or raise ' if more else ''}"
            f"{' or '.join(more)}."
        )
    if isinstance(records, JoinedSet):
        if records.n_records < n_workers:
            raise UserError(
                f"{records.name}: {records.n_records} tuples cannot be dealt to "
                f"{n_workers} workers, one each at least. Start fewer workers."
            )
        return n_clips // batch_size
    n_shards = len({span.shard for span in records.spans if clips.n_clips(span)})
    if n_shards < n_workers:
        raise UserError(
            f"{records.name}: {n_shards} shards cannot be dealt to {n_workers} "
            "workers, one each at least. Start fewer workers, or extract again with a "
            "lower --recordings_per_shard."
        )
    return n_clips // batch_size


def evaluation_batches(
    records: Records,
    clip_s: float,
    batch_size: int,
    log_mel_reference: str = "stored",
) -> tf.data.Dataset:
    """Yields every annotated clip once, in a fixed order, the last batch included.

    A record without a clip list is one clip. Clips are padded or cut to clip_s.
    """
    clips = ClipConfig("annotated", clip_s, log_mel_reference=log_mel_reference)

    @tf.autograph.experimental.do_not_convert
    def cut(record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = parse(record, records.spec)
        return clip_cutting.cut(parsed, clips, records.spec, window_seed=None)

    @tf.autograph.experimental.do_not_convert
    def as_float(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        heard = {k: v for k, v in batch.items() if k.startswith("log_mel")}
        return {**batch, **{k: tf.cast(v, tf.float32) for k, v in heard.items()}}

    if isinstance(records, JoinedSet):
        every = tf.range(records.n_records)
        cut_clips = dealing.Tuples(records, clips).cut(every)
    else:
        serialized = tf.data.TFRecordDataset(records.paths)
        cut_clips = serialized.map(cut, tf.data.AUTOTUNE)
    return _untuned(cut_clips.rebatch(batch_size).map(as_float).prefetch(_PREFETCHED))


def _untuned(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Has as many threads as cores, and none that tunes their number.

    That one looks at the pipeline at most once a minute, and where an iterator is let
    go of, TensorFlow 2.16 may wait until it looks again.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


def read(batches: Iterable, records: Records) -> Iterator:
    """Iterates over a dataset of records; a damaged one is a ValueError naming it.

    So is a shard that is gone.
    """
    return training_records.read(batches, records.name, plain_sets(records))


def languages(records: Records) -> tuple[str, ...]:
    """The languages that a set joins, each with a log-mel of its own; () of one."""
    return tuple(records.sets) if isinstance(records, JoinedSet) else ()
