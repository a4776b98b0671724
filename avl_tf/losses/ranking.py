"""Losses of margins between a match and imposters.

In: similarities of matching pairs, float [B, B], rows audio; see losses.of_embeddings.
"""

from collections.abc import Sequence

import tensorflow as tf

TRIPLETS = ("random", "semi-hard", "both")


def max_margin(similarity: tf.Tensor, margin: float = 0.1) -> tf.Tensor:
    """Computes the max-margin ranking loss over a batch of matching pairs.

    The mean over all B * B entries of relu(margin + S_ij - S_ii) + relu(margin + S_ij -
    S_jj), without weights; those of the diagonal are a constant 2 * margin / B.

    Args:
        similarity: [B, B], of embeddings that the authors normalise.
        margin: by which a match should score above others.

    Source: Miech et al. 2019 (HowTo100M) loss.py, without negative_weighting.
    """
    match = tf.linalg.diag_part(similarity)
    in_rows = tf.nn.relu(margin + similarity - match[:, None])
    in_columns = tf.nn.relu(margin + similarity - match[None, :])
    return tf.reduce_mean(in_rows + in_columns)


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
        imposters = _draw_imposters(tf.shape(similarity)[0], seed)
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


def _draw_imposters(n_pairs: tf.Tensor, seed) -> list[tf.Tensor]:
    """Two rows of imposters, int32 [B]: each any row but its own, equally likely."""
    drawn = tf.random.stateless_uniform(
        [2, n_pairs], seed, minval=0, maxval=n_pairs - 1, dtype=tf.int32
    )
    return tf.unstack(drawn + tf.cast(drawn >= tf.range(n_pairs), tf.int32))
