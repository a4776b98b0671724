"""Losses of margins between a match and imposters.

In: similarities of matching pairs, float [B, B], rows audio; see losses.of_embeddings.
"""

from collections.abc import Sequence

import tensorflow as tf

from avl_tf.losses.similarity import same_group

TRIPLETS = ("random", "semi-hard", "both")


def max_margin(
    similarity: tf.Tensor,
    margin: float = 0.1,
    groups: tf.Tensor | None = None,
    hard_negative_rate: float = 0.0,
) -> tf.Tensor:
    """Computes the max-margin ranking loss over a batch of matching pairs.

    The mean over all B * B entries of relu(margin + S_ij - S_ii) + relu(margin + S_ij -
    S_jj), those of the diagonal a constant 2 * margin / B. With a hard_negative_rate h
    it is a weighted mean: entries of one group have h of the weight together, all
    others 1 - h.

    Args:
        similarity: [B, B], of embeddings that the authors normalise.
        margin: by which a match should score above others.
        groups: int [B], the same for pairs of one recording.
        hard_negative_rate: 0 is without weights; the authors' default is 0.5.

    Raises:
        ValueError: there is not one group for each pair, though weights need them, or
            the rate is not of 0 to 1.

    Source: Miech et al. 2019 (HowTo100M) loss.py, its negative_weighting by groups.
    Differs: recordings may have unlike numbers of pairs; of V recordings with as many
        each the weights are theirs, V * h and V * (1 - h) / (V - 1). A batch of one
        recording has the weight h.
    """
    if not 0 <= hard_negative_rate <= 1:
        raise ValueError(
            f"expected a hard_negative_rate from 0 to 1, got {hard_negative_rate}."
        )
    match = tf.linalg.diag_part(similarity)
    in_rows = tf.nn.relu(margin + similarity - match[:, None])
    in_columns = tf.nn.relu(margin + similarity - match[None, :])
    found = in_rows + in_columns
    if hard_negative_rate:
        found *= _weights(same_group(groups, similarity), hard_negative_rate, found)
    return tf.reduce_mean(found)


def _weights(same: tf.Tensor, hard: float, like: tf.Tensor) -> tf.Tensor:
    """Weights [B, B] whose sum is hard * B * B over `same`, the rest elsewhere."""
    n_same = tf.reduce_sum(tf.cast(same, like.dtype))
    n_all = tf.cast(tf.size(same), like.dtype)
    others = tf.math.divide_no_nan((1 - hard) * n_all, n_all - n_same)
    return tf.where(same, hard * n_all / n_same, others)


def triplet(
    similarity: tf.Tensor,
    kind: str = "random",
    margin: float = 1.0,
    seed: Sequence[int] | tf.Tensor = (0, 0),
    imposters: Sequence[tf.Tensor] | None = None,
) -> tf.Tensor:
    """Computes a triplet margin loss with imposters of the batch, in both directions.

    The mean over rows of relu(margin + S_i,imposter(i) - S_ii), with audio as queries,
    and the same with visual as queries, summed.

    Args:
        similarity: [B, B], of two pairs or more.
        kind: whose imposters: "random" ones, any row but the query's own;
            "semi-hard", the nearest that scores less than the match, or an entry of 0
            where none of those is above 0; "both", the two summed.
        margin: by which a match should score above an imposter.
        seed: int [2]; the same draws the same random imposters.
        imposters: int [B] of visual rows for audio queries, and of audio rows for
            visual queries, in place of drawn ones.

    Raises:
        ValueError: there is no such kind.

    Source: Harwath et al. 2018 (random); Harwath et al. 2020 (ResDAVEnet-VQ)
        steps/util.py (semi-hard, and its training, which has both).
    Differs: nothing. The code multiplies by its mask, so that 0 stands among the
        semi-hard candidates.
    """
    if kind not in TRIPLETS:
        raise ValueError(f"kind: expected {', '.join(TRIPLETS)}; got '{kind}'.")
    if imposters is None:
        imposters = draw_imposters(tf.shape(similarity)[0], seed)
    loss = tf.zeros([], similarity.dtype)
    both = similarity, tf.transpose(similarity)
    for rows, drawn in zip(both, imposters, strict=True):
        match = tf.linalg.diag_part(rows)
        scores = []
        if kind != "semi-hard":
            scores.append(tf.gather(rows, drawn, axis=1, batch_dims=1))
        if kind != "random":
            less = tf.where(rows < match[:, None], rows, tf.zeros_like(rows))
            scores.append(tf.reduce_max(less, axis=1))
        for score in scores:
            loss += tf.reduce_mean(tf.nn.relu(margin + score - match))
    return loss


def draw_imposters(n_pairs: tf.Tensor, seed) -> list[tf.Tensor]:
    """Two rows of imposters, int32 [B]: each any row but its own, equally likely."""
    drawn = tf.random.stateless_uniform(
        [2, n_pairs], seed, minval=0, maxval=n_pairs - 1, dtype=tf.int32
    )
    return tf.unstack(drawn + tf.cast(drawn >= tf.range(n_pairs), tf.int32))
