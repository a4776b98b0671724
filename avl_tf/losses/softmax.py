"""Losses that find the match among the batch: cross-entropies of similarities.

In: similarities of matching pairs, float [B, B], rows audio; see losses.of_embeddings.
"""

import tensorflow as tf

from avl_tf.losses.similarity import same_group


def mms(similarity: tf.Tensor, margin: float = 0.001) -> tf.Tensor:
    """Computes the masked margin softmax (MMS) loss over a batch of matching pairs.

    Args:
        similarity: [B, B].
        margin: what is taken off the matching similarities; a number or a scalar.

    Returns:
        A scalar: the cross-entropy of finding the match among the batch, as a mean over
        the batch, summed over both directions.

    Source: Rouditchenko et al. 2021 (AVLnet) Eq. 3; authors' loss.py.
    Differs: nothing. The mask of the original MMS (Ilharco et al. 2019) is mms_masked:
        the paper leaves it out, as no two clips of a batch share a ground truth.
    """
    n_pairs = tf.shape(similarity)[0]
    found = similarity - margin * tf.eye(n_pairs, dtype=similarity.dtype)
    return _cross_entropy(found) + _cross_entropy(tf.transpose(found))


def mms_scheduled(
    similarity: tf.Tensor, step: tf.Tensor, margin: float = 0.001
) -> tf.Tensor:
    """Computes mms with a margin that grows: margin * 1.002 ** floor(step / 1000).

    Args:
        similarity: [B, B].
        step: int scalar, 0 for the first of a training.
        margin: of the first thousand steps.

    Source: Ilharco et al. 2019; Ohishi et al. 2020 (Trilingual semantic embeddings), by
        its reimplementation TrilingualLossProj.
    """
    # In double precision: a power of some hundreds multiplies a rounding by as much.
    thousands = tf.cast(step // 1000, tf.float64)
    grown = margin * tf.pow(tf.constant(1.002, tf.float64), thousands)
    return mms(similarity, tf.cast(grown, similarity.dtype))


def mms_adaptive(similarity: tf.Tensor) -> tf.Tensor:
    """Computes mms with a margin for each query, half of how far its match stands out.

    The margin of row i is 0.5 * (match - mean of the others in the row); of the other
    direction by columns. It is not detached: gradients flow through it.

    Args:
        similarity: [B, B], of two pairs or more.

    Source: TrilingualLossProj (losses/funcs/InfoNCE.py), alpha 0.5.
    """
    n_others = tf.cast(tf.shape(similarity)[0] - 1, similarity.dtype)
    loss = tf.zeros([], similarity.dtype)
    for queries_in_rows in (similarity, tf.transpose(similarity)):
        match = tf.linalg.diag_part(queries_in_rows)
        others = tf.reduce_sum(queries_in_rows, axis=1) - match
        margin = 0.5 * (match - others / n_others)
        loss += _cross_entropy(queries_in_rows - tf.linalg.diag(margin))
    return loss


def mms_masked(
    similarity: tf.Tensor, groups: tf.Tensor, margin: float = 0.001
) -> tf.Tensor:
    """Computes mms in which pairs of one group are no negatives of each other.

    Args:
        similarity: [B, B].
        groups: int [B], the same for pairs of one image or recording.
        margin: as mms.

    Raises:
        ValueError: there is not one group for each pair.

    Source: Ilharco et al. 2019, whose mask is of duplicates.
    """
    n_pairs = tf.shape(similarity)[0]
    masked = same_group(groups, similarity) & ~tf.eye(n_pairs, dtype=tf.bool)
    found = similarity - margin * tf.eye(n_pairs, dtype=similarity.dtype)
    # Finite: an infinity less an infinity would be none.
    found = tf.where(masked, tf.constant(found.dtype.min / 2, found.dtype), found)
    return _cross_entropy(found) + _cross_entropy(tf.transpose(found))


def infonce(
    similarity: tf.Tensor, temperature: float = 1.0, directions: str = "both"
) -> tf.Tensor:
    """Computes the InfoNCE loss over a batch of matching pairs.

    Args:
        similarity: [B, B].
        temperature: what similarities are divided by.
        directions: "both", summed; or "one", in which audio is the query only.

    Raises:
        ValueError: the temperature or the directions are none.

    Source: AVLnet section 3.4 (both); Ryu et al. 2023 (Hindi as a Second Language)
        Eq. 2 (one, temperature 0.3).
    """
    if directions not in ("both", "one"):
        raise ValueError(f"directions: expected both or one, got '{directions}'.")
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}.")
    found = similarity / temperature
    one = _cross_entropy(found)
    return one if directions == "one" else one + _cross_entropy(tf.transpose(found))


def _cross_entropy(queries_in_rows: tf.Tensor) -> tf.Tensor:
    """Of finding the diagonal in each row, as a mean; [B, B] to a scalar."""
    match = tf.range(tf.shape(queries_in_rows)[0])
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(match, queries_in_rows)
    )
