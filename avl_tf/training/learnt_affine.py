"""What bce learns besides the model: a factor and a summand for each term's scores."""

import tensorflow as tf


class LearntAffine(tf.Module):
    """Makes similarities logits; made in the strategy's scope, part of a checkpoint.

    It is no part of the model, so that neither an export nor a stage that starts from
    the run has it.
    """

    def __init__(self, n_terms: int, scale: float):
        """Starts each term at scale * similarity + 0."""
        super().__init__()
        self.scales = tf.Variable(tf.fill([n_terms], float(scale)))
        self.offsets = tf.Variable(tf.zeros([n_terms]))

    def of_term(self, place: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The factor and the summand of the place-th term, scalars."""
        scales, offsets = map(tf.convert_to_tensor, (self.scales, self.offsets))
        return scales[place], offsets[place]
