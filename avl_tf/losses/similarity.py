"""What all losses look at: the inner products of two batches of embeddings."""

import tensorflow as tf


def of_pairs(
    audio: tf.Tensor, visual: tf.Tensor, at_least: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the similarity matrix of matching pairs.

    Args:
        audio: float [B, D].
        visual: float [B, D], row i matching audio row i.
        at_least: the pairs that a loss needs.

    Returns:
        float32 [B, B] (float64 of float64 embeddings), rows audio, and B, int32 scalar.

    Raises:
        ValueError: they are known to be of other shapes, types or numbers.
    """
    audio, visual = tf.convert_to_tensor(audio), tf.convert_to_tensor(visual)
    both = f"{audio.shape} {audio.dtype.name} and {visual.shape} {visual.dtype.name}"
    if not (
        audio.shape.rank in (2, None) and audio.shape.is_compatible_with(visual.shape)
    ):
        raise ValueError(
            f"expected embeddings of matching pairs, two [B, D]; got {both}."
        )
    if audio.dtype != visual.dtype or not audio.dtype.is_floating:
        raise ValueError(f"expected embeddings of one floating type; got {both}.")
    n_known = (audio.shape[:1] or [None])[0]
    if n_known is not None and n_known < at_least:
        raise ValueError(f"this loss needs {at_least} pairs or more; got {both}.")
    similarity = at_least_float32(tf.matmul(audio, visual, transpose_b=True))
    return similarity, tf.shape(similarity)[0]


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Makes half precision float32; float64 stays."""
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor
