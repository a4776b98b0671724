"""What one language takes from another: its neighbours' captions, its similarities."""

import tensorflow as tf

from avl_tf.losses import similarity


def nearest_neighbors(
    queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, valid: tf.Tensor
) -> tf.Tensor:
    """Looks up the values that belong to the keys nearest to queries.

    With infonce(found, learner, temperature, directions="one") it makes Eq. 5.

    Args:
        queries: float [B, D], captions in the guiding language.
        keys: float [Q, D], earlier captions in that language.
        values: float [Q, D'], the captions of the same clips in the language that
            learns.
        valid: bool [Q], the rows that hold something; one does.

    Returns:
        float [B, D'], detached: by inner product, of equal ones the first.

    Source: Ryu et al. 2023 (Hindi as a Second Language) Eq. 4.
    """
    scores = tf.matmul(queries, keys, transpose_b=True)
    scores = tf.where(valid[None, :], scores, scores.dtype.min)
    found = tf.gather(values, tf.argmax(scores, axis=1))
    return tf.stop_gradient(found)


def distillation(
    guide: tf.Tensor, learner: tf.Tensor, visual: tf.Tensor, temperature: float = 1.0
) -> tf.Tensor:
    """Computes how far a learner's choice among what is seen is from its guide's.

    The Kullback-Leibler divergence of softmax(S / temperature) over each audio's row,
    from the guide's to the learner's, as a mean over the batch. The gradient is that of
    the cross-entropy; this form is 0 where the learner has all of the guide.

    Args:
        guide: float [B, D], audio in one language; detached.
        learner: float [B, D], audio of the same clips in another.
        visual: float [B, D]; what it has in the guide's similarities is detached.
        temperature: what similarities are divided by, on both sides.

    Returns:
        float32 scalar (float64 of float64 embeddings).

    Raises:
        ValueError: the embeddings are known not to fit each other.

    Source: Rouditchenko et al. 2023 (C2KD), from text in one language to another.
    Differs: one guide, of sound; C2KD takes the mean or the largest of several.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}.")
    taught, _ = similarity.of_pairs(guide, visual)
    found, _ = similarity.of_pairs(learner, visual)
    wanted = tf.nn.log_softmax(tf.stop_gradient(taught) / temperature)
    own = tf.nn.log_softmax(found / temperature)
    return tf.reduce_mean(tf.reduce_sum(tf.exp(wanted) * (wanted - own), axis=1))
