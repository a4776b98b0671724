"""Correspondence as a yes or no for each pair: the logistic loss.

In: similarities of matching pairs, float [B, B], rows audio; see losses.of_embeddings.
"""

from collections.abc import Sequence

import tensorflow as tf

from avl_tf.losses.ranking import draw_imposters

NEGATIVES = ("sampled", "all")


def bce(
    similarity: tf.Tensor,
    scale: tf.Tensor | float = 1.0,
    offset: tf.Tensor | float = 0.0,
    negatives: str = "sampled",
    seed: Sequence[int] | tf.Tensor = (0, 0),
    imposters: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes the binary cross-entropy of telling matches from imposters.

    Audio i and visual j belong together with the probability sigmoid(scale * S_ij +
    offset). Half of the loss is the mean over matches, half that over imposters.

    Args:
        similarity: [B, B], of two pairs or more.
        scale, offset: scalars, to be learnt.
        negatives: "sampled", one imposter for each audio, any visual row but its own;
            or "all" of the other rows.
        seed: int [2]; the same draws the same imposters.
        imposters: int [B] of visual rows, in place of drawn ones.

    Returns:
        A scalar of the similarity's type.

    Raises:
        ValueError: there is no such choice of negatives.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.4, which names it, after
        Arandjelovic and Zisserman 2017 (L3-Net) and 2018 (AVE-Net): half of their
        pairs match.
    Differs: AVE-Net's affine is of the Euclidean distance d of embeddings of length 1,
        whose square is 2 - 2 S: equivalent up to the square root.
    Unstated: AVLnet's own form; the negatives.
    """
    if negatives not in NEGATIVES:
        raise ValueError(
            f"negatives: expected {' or '.join(NEGATIVES)}; got '{negatives}'."
        )
    scale, offset = (tf.cast(one, similarity.dtype) for one in (scale, offset))
    logits = scale * similarity + offset
    match = tf.linalg.diag_part(logits)
    n_pairs = tf.shape(logits)[0]
    if negatives == "sampled":
        if imposters is None:
            imposters = draw_imposters(n_pairs, seed)[0]
        others = tf.nn.softplus(tf.gather(logits, imposters, axis=1, batch_dims=1))
        of_others = tf.reduce_mean(others)
    else:
        others = tf.linalg.set_diag(tf.nn.softplus(logits), tf.zeros_like(match))
        n_others = tf.cast(n_pairs * (n_pairs - 1), logits.dtype)
        of_others = tf.reduce_sum(others) / n_others
    return 0.5 * (tf.reduce_mean(tf.nn.softplus(-match)) + of_others)
