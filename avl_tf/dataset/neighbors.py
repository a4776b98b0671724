"""What lies beside a clip in its recording: windows of sound, other clips."""

import tensorflow as tf


def candidates(
    starts_s: tf.Tensor, clip_s: float, end_s: tf.Tensor, n_candidates: int
) -> tf.Tensor:
    """Finds the windows nearest to clips that overlap neither them nor each other.

    Args:
        starts_s: float32 [M], where the clips start.
        clip_s: how long they and their windows are.
        end_s: float32 [], where the recording ends; no other window goes beyond it.
        n_candidates: K.

    Returns:
        float32 [M, K], starts: the clip's own, then the nearest, of two as near the
        earlier first. Where fewer than K fit, those that fit again, in that order.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.4.
    Unstated: K, and what is done in a short recording.
    """
    away = [0, *(one for n in range(1, n_candidates) for one in (-n, n))]
    starts = starts_s[:, tf.newaxis] + clip_s * tf.constant(away, tf.float32)
    slack = 1e-3  # of sums in single precision
    inside = (starts > -slack) & (starts + clip_s < end_s + slack)
    inside |= tf.equal(away, 0)
    fits = tf.argsort(tf.where(inside, 0, 1), axis=1, stable=True)
    n_fit = tf.reduce_sum(tf.cast(inside, tf.int32), axis=1, keepdims=True)
    place = tf.range(n_candidates) % n_fit
    return tf.maximum(
        tf.gather(starts, tf.gather(fits, place, batch_dims=1), batch_dims=1), 0.0
    )


def grown(
    starts_s: tf.Tensor, ends_s: tf.Tensor, min_s: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes each clip as long as asked for, by the nearer of its neighbours, and again.

    Args:
        starts_s, ends_s: float32 [M], the clips of a recording.
        min_s: what a clip grows to; where there are no more neighbours it is shorter.

    Returns:
        float32 [M] each, by their first starts.

    Source: authors' youtube_dataloader.py, of which each caption is a clip here.
    Differs: they draw 32 captions of a recording; each is one clip of an epoch here.
    """
    order, n = tf.argsort(starts_s, stable=True), tf.size(starts_s)
    starts_s, ends_s = tf.gather(starts_s, order), tf.gather(ends_s, order)

    def spans(first, last):
        return tf.gather(starts_s, first), tf.gather(ends_s, last)

    def short(first, last):
        begin, end = spans(first, last)
        return (end - begin < min_s) & ((first > 0) | (last < n - 1))

    def grow(first, last):
        begin, end = spans(first, last)
        before, behind = spans(tf.minimum(last + 1, n - 1), tf.maximum(first - 1, 0))
        nearer = (begin - behind <= before - end) | (last == n - 1)
        back = short(first, last) & nearer & (first > 0)
        forth = short(first, last) & ~back
        return first - tf.cast(back, tf.int32), last + tf.cast(forth, tf.int32)

    places = tf.range(n), tf.range(n)
    found = tf.while_loop(lambda *at: tf.reduce_any(short(*at)), grow, places)
    return spans(*found)
