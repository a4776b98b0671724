"""Multiple-instance NCE: a video has several sounds, one of which may fit."""

import tensorflow as tf

from avl_tf.losses.similarity import at_least_float32


def mil_nce(
    visual: tf.Tensor, candidates: tf.Tensor, count_positives_twice: bool = True
) -> tf.Tensor:
    """Computes MIL-NCE over a batch of videos with K candidates each.

    With x_ijk the inner product of video i and candidate k of video j, the mean over i
    of log(sum_jk exp x_ijk + sum_jk exp x_jik) - log sum_k exp x_iik. The candidates of
    the video itself are in both sums, so that the least value is log 2.

    Args:
        visual: float [B, D].
        candidates: float [B, K, D], those of row i belonging to video i.
        count_positives_twice: as above, the authors' code; otherwise the second sum is
            of j != i, the paper's equation, and the least value is 0.

    Returns:
        float32 scalar (float64 of float64 embeddings).

    Raises:
        ValueError: the embeddings are known not to fit each other.

    Source: Miech et al. 2020 (MIL-NCE) Eq. 3 and loss.py.
    Differs: nothing.
    """
    visual, candidates = map(tf.convert_to_tensor, (visual, candidates))
    both = (
        f"{visual.shape} {visual.dtype.name} and {candidates.shape} "
        f"{candidates.dtype.name}"
    )
    fits = candidates.shape.is_compatible_with([None, None, None])
    n_items, n_candidates, dim = candidates.shape.with_rank(3) if fits else [None] * 3
    if not (fits and visual.shape.is_compatible_with([n_items, dim])):
        raise ValueError(
            f"expected embeddings [B, D] and candidates [B, K, D]; got {both}."
        )
    if visual.dtype != candidates.dtype or not visual.dtype.is_floating:
        raise ValueError(f"expected embeddings of one floating type; got {both}.")
    if 0 in (n_items, n_candidates):
        raise ValueError(f"this loss needs a pair and a candidate or more; got {both}.")
    # Before the products, which half precision may not hold.
    visual, candidates = at_least_float32(visual), at_least_float32(candidates)
    found = tf.einsum("id,jkd->ijk", visual, candidates)
    return of_similarities(found, count_positives_twice)


def of_similarities(
    similarity: tf.Tensor, count_positives_twice: bool = True
) -> tf.Tensor:
    """Computes mil_nce of similarities [B, B, K]: of video i and candidate k of j."""
    n_items = tf.shape(similarity)[0]
    own = tf.eye(n_items, dtype=tf.bool)[..., tf.newaxis]
    lowest = tf.constant(similarity.dtype.min / 2, similarity.dtype)
    match = tf.reduce_logsumexp(tf.where(own, similarity, lowest), axis=[1, 2])
    as_candidates = tf.transpose(similarity, [1, 0, 2])
    if not count_positives_twice:
        as_candidates = tf.where(own, lowest, as_candidates)
    all_of = tf.concat([similarity, as_candidates], axis=1)
    return tf.reduce_mean(tf.reduce_logsumexp(all_of, axis=[1, 2]) - match)
