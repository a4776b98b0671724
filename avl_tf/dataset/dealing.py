"""What an epoch reads of a set: its records in an order of a seed, dealt, cut to clips.

Everything is drawn from texts by draw, so that it is the same on every machine.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from avl_tf import files, images
from avl_tf.dataset import clip_cutting
from avl_tf.dataset.joined import JoinedSet
from avl_tf.records import RecordSet, Span, record_index
from avl_tf.records.schema import parse
from avl_tf.settings.clips import ClipConfig

_OPEN_SHARDS = 16
_READ_AT_ONCE = 8  # remote shards: a read waits for the server
# Recordings' clips that are held back to be mixed, in memory.
_SHUFFLED_BYTES = 256 << 20


class Spans:
    """The spans of a set as tensors, to be dealt and read in the order of an epoch."""

    def __init__(
        self,
        records: RecordSet,
        clips: ClipConfig,
        seed: int = 0,
        with_groups: bool = False,
        n_candidates: int = 0,
    ):
        self.records, self.clips = records, clips
        self.seed, self.with_groups = seed, with_groups
        self.n_candidates = n_candidates
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
        order = permutation(len(self.shard_clips), seed)

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

    def cut(
        self, order: tf.Tensor, order_seed: tf.Tensor, number: tf.Tensor
    ) -> tf.data.Dataset:
        """The clips of each record of the spans, mixed.

        Args:
            order: int32 [N], indices of spans.
            order_seed: what the records are mixed with.
            number: int64 scalar, another one for other windows.
        """

        @tf.autograph.experimental.do_not_convert
        def sample(record: tf.Tensor) -> dict[str, tf.Tensor]:
            parsed = parse(record, self.records.spec)
            drawn = draw(self.seed, parsed["id"]), number
            cut = clip_cutting.cut(
                parsed,
                self.clips,
                self.records.spec,
                drawn,
                n_candidates=self.n_candidates,
            )
            if self.with_groups:
                n_clips = tf.size(cut["clip_id"])
                cut["group"] = tf.repeat(group_of(parsed["recording_id"]), n_clips)
            return cut

        cut = self._read(order).map(sample, tf.data.AUTOTUNE)
        # Not before: records are larger than their clips, and memory that one thread
        # fills and another empties long after is slow to get.
        n_shuffled = _n_shuffled(self.records, self.clips, self.n_candidates)
        return cut.shuffle(n_shuffled, seed=order_seed)

    def _read(self, order: tf.Tensor) -> tf.data.Dataset:
        """The serialised records of spans, several shards side by side."""
        places = (self.paths, self.offsets, self.n_records)
        chosen = tuple(tf.gather(column, order) for column in places)
        # Reading ahead costs memory, and with it time, where nothing waits.
        return tf.data.Dataset.from_tensor_slices(chosen).interleave(
            lambda path, offset, n: record_index.records_at(path, offset).take(n),
            _OPEN_SHARDS,
            num_parallel_calls=self.at_once,
        )


class Tuples:
    """The tuples of a joined set, read record by record wherever they lie."""

    def __init__(self, joined: JoinedSet, clips: ClipConfig, seed: int = 0):
        self.clips, self.seed, self.languages = clips, seed, list(joined.sets)
        # What no tuple shows is left in the files.
        unread: dict[str, Any] = {
            "features_2d": None,
            "features_3d": None,
            "images": False,
        }
        self.seen = joined.seen
        self.many_seen = bool(self.seen.any())
        self.specs = [
            dataclasses.replace(one.spec, **({} if kept else unread))
            for at, one in enumerate(joined.sets.values())
            for kept in [self.many_seen or at == 0]
        ]
        self.n_clips = np.array(
            [clips.n_clips(Span("", 0, 1, int(n))) for n in joined.clips], np.int64
        )
        self.paths = [tf.constant(one.paths) for one in joined.sets.values()]
        self.places = [tf.constant(joined.places[name]) for name in self.languages]
        keys = tf.constant(joined.keys)
        self.groups = group_of(keys)
        self.texts = tf.strings.join([keys, " ", tf.as_string(joined.numbers)])
        remote = any(files.is_remote(one.folder) for one in joined.sets.values())
        self.at_once = _READ_AT_ONCE if remote else None

    def deal(self, seed: tf.Tensor, index: int, n_workers: int) -> tf.Tensor:
        """Deals the tuples to workers, in an order of the seed; as Spans.deal."""
        if n_workers == 1:
            return tf.range(len(self.n_clips))
        return permutation(len(self.n_clips), seed)[index::n_workers]

    def cut(
        self,
        order: tf.Tensor,
        order_seed: tf.Tensor | None = None,
        number: tf.Tensor | None = None,
    ) -> tf.data.Dataset:
        """The clips of each tuple, in order; as Spans.cut, without mixing them again.

        Without a number nothing is drawn, as in evaluation.
        """
        texts = tf.gather(self.texts, order)
        paths, offsets = [], []
        for path, places in zip(self.paths, self.places, strict=True):
            candidates = tf.gather(places, order)
            n = places.shape[1]
            drawn = tf.zeros_like(order)
            if n > 1 and number is not None:
                text = tf.strings.format("similar {}", number)
                drawn = draw(self.seed, tf.strings.join([text, " ", texts])) % n
            chosen = tf.gather(candidates, drawn, batch_dims=1)
            paths.append(tf.gather(path, chosen[:, 0]))
            offsets.append(chosen[:, 1])

        @tf.autograph.experimental.do_not_convert
        def read(text, group, seen, *places):
            halves = zip(places[: len(paths)], places[len(paths) :], strict=True)
            records = [record_index.records_at(*place).take(1) for place in halves]
            told = [tf.data.Dataset.from_tensors(one) for one in (text, group, seen)]
            return tf.data.Dataset.zip((*told, *records))

        @tf.autograph.experimental.do_not_convert
        def sample(text, group, seen, *serialized):
            both = zip(serialized, self.specs, strict=True)
            parsed = [parse(one, spec) for one, spec in both]
            drawn = None if number is None else (draw(self.seed, text), number)
            shortest = tf.reduce_min([one["log_mel"].n_steps for one in parsed])
            batch, shown = {}, []
            for language, one, spec in zip(
                self.languages, parsed, self.specs, strict=True
            ):
                cut = clip_cutting.cut(one, self.clips, spec, drawn, shortest)
                for name in ("log_mel", "n_frames"):
                    batch[f"{name}:{language}"] = cut.pop(name)
                shown.append(cut)
            batch |= shown[0]
            if self.many_seen:
                batch |= {k: tf.stack([one[k] for one in shown])[seen] for k in cut}
            n_clips = tf.size(batch["clip_id"])
            return {**batch, "group": tf.repeat(group, n_clips)}

        told = [tf.gather(column, order) for column in (self.groups, self.seen)]
        chosen = (texts, *told, *paths, *offsets)
        tuples = tf.data.Dataset.from_tensor_slices(chosen)
        at_once = self.at_once or 1
        read_in_order = tuples.interleave(
            read, at_once, num_parallel_calls=self.at_once
        )
        return read_in_order.map(sample, tf.data.AUTOTUNE)


def group_of(keys: tf.Tensor) -> tf.Tensor:
    """int64, the same number for the same text: clips of one image, by their key."""
    return tf.strings.to_hash_bucket_fast(keys, 2**63 - 1)


def _n_shuffled(records: RecordSet, clips: ClipConfig, n_candidates: int) -> int:
    """How many recordings' clips fit in _SHUFFLED_BYTES."""
    n_bins = clips.clip_s * records.spec.audio.frame_rate * records.spec.audio.n_mels
    clip_bytes = 2 * n_bins * max(1, n_candidates) + 4 * sum(records.spec.visual_dims)
    clip_bytes += 3 * images.SIDE**2 if records.spec.images else 0
    recording_bytes = clip_bytes * clips.n_clips(records) / records.n_records
    return max(1, min(records.n_records, int(_SHUFFLED_BYTES / recording_bytes)))


def permutation(n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The numbers below n in an order of the seed, int32 [n]."""
    return tf.argsort(tf.random.stateless_uniform([n], [seed, 0]), stable=True)


def draw(seed: int, text: tf.Tensor) -> tf.Tensor:
    """A seed from a text and the run's seed, the same on every machine."""
    return tf.strings.to_hash_bucket_fast(
        tf.strings.join([str(seed), " ", text]), 2**31
    )
