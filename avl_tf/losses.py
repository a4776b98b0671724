"""Contrastive losses: pure functions of two batches of embeddings."""

import tensorflow as tf


def masked_margin_softmax(
    audio_embedding: tf.Tensor, visual_embedding: tf.Tensor, margin: float = 0.001
) -> tf.Tensor:
    """Computes the MMS loss over a batch of matching pairs.

    Args:
        audio_embedding: float [B, D], not normalised.
        visual_embedding: float [B, D], row i matching audio row i.
        margin: what is taken off the matching similarities.

    Returns:
        float32 scalar (float64 of float64 embeddings): the cross-entropy of finding the
        match among the batch, as a mean over the batch, summed over both directions.

    Source: Rouditchenko et al. 2021 (AVLnet) Eq. 3; authors' loss.py.
    Differs: nothing. The mask of the original MMS (Ilharco et al. 2019) is left out,
        as in the paper: no two clips of a batch share a ground truth.
    """
    similarity = tf.matmul(audio_embedding, visual_embedding, transpose_b=True)
    similarity = at_least_float32(similarity)
    n_pairs = tf.shape(similarity)[0]
    similarity -= margin * tf.eye(n_pairs, dtype=similarity.dtype)
    match = tf.range(n_pairs)
    loss = 0.0
    for queries_in_rows in (similarity, tf.transpose(similarity)):
        loss += tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(match, queries_in_rows)
        )
    return loss


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Makes half precision float32; float64 stays."""
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor
