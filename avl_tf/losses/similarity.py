"""What all losses look at: the inner products of two batches of embeddings."""

import inspect
from collections.abc import Callable

import tensorflow as tf


def of_embeddings(
    loss: Callable[..., tf.Tensor], at_least: int = 1
) -> Callable[..., tf.Tensor]:
    """Makes a loss of embeddings from one of their similarities.

    Args:
        loss: of a matrix [B, B], rows audio, and what else it takes.
        at_least: the pairs that it needs.

    Returns:
        A function of float audio [B, D], visual [B, D], row i matching audio row i, and
        the loss's other arguments, to a float32 scalar (float64 of float64 embeddings).
        It raises ValueError if the embeddings are known not to fit each other.
    """

    def of_both(audio, visual, *args, **kwargs):
        found, _ = of_pairs(audio, visual, at_least)
        return loss(found, *args, **kwargs)

    signature = inspect.signature(loss)
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    both = [inspect.Parameter(name, either) for name in ("audio", "visual")]
    given = [*both, *list(signature.parameters.values())[1:]]
    of_both.__signature__ = signature.replace(parameters=given)  # type: ignore[attr-defined]
    of_both.__name__ = loss.__name__
    of_both.__doc__ = (loss.__doc__ or "").replace(
        "similarity: [B, B]", "audio, visual: float [B, D]"
    )
    return of_both


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
    # Before the products, which half precision may not hold.
    audio, visual = at_least_float32(audio), at_least_float32(visual)
    similarity = tf.matmul(audio, visual, transpose_b=True)
    return similarity, tf.shape(similarity)[0]


def same_group(groups: tf.Tensor | None, similarity: tf.Tensor) -> tf.Tensor:
    """Which entries [B, B] are of one group; ValueError but for one group a pair."""
    shape = () if groups is None else tf.convert_to_tensor(groups).shape
    if groups is None or not similarity.shape[:1].is_compatible_with(shape):
        raise ValueError(
            f"expected a group for each pair, {similarity.shape[:1]}; got {shape}."
        )
    groups = tf.convert_to_tensor(groups)
    return tf.equal(groups[:, None], groups[None, :])


def at_least_float32(tensor: tf.Tensor) -> tf.Tensor:
    """Makes half precision float32; float64 stays."""
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor
