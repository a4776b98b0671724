"""Captions of earlier steps in several languages, among which neighbours are found."""

from collections.abc import Mapping

import tensorflow as tf

from avl_tf import losses
from avl_tf.training import optimizers


class CaptionQueue(tf.Module):
    """The newest caption embeddings, first in first out; rows are of the same clip.

    Made in the strategy's scope; the same on every replica, as the global batch is
    what comes in. Part of a checkpoint of what holds it.

    Source: Ryu et al. 2023 (Hindi as a Second Language) section 2.3.
    Differs: nothing known. Unstated: the order, here first in first out.
    """

    def __init__(self, size: int, dims: Mapping[str, int]):
        """Makes an empty one for `size` clips; dims are widths by branch."""
        super().__init__()
        self.size = size
        # The newest stand last.
        self.held = {
            branch: tf.Variable(tf.zeros([size, dim]), trainable=False)
            for branch, dim in dims.items()
        }
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def full(self) -> tf.Tensor:
        """Whether it holds `size` clips, bool scalar."""
        return self.count >= self.size

    def neighbors(self, guide: str, learner: str, queries: tf.Tensor) -> tf.Tensor:
        """Looks up what belongs to the clips that are nearest in the guide's language.

        Args:
            guide, learner: branches.
            queries: float [G, D], embeddings of the guide's branch.

        Returns:
            float [G, D], detached: the learner's embeddings of those clips. While it is
            empty, zeros.
        """
        keys, values = (tf.convert_to_tensor(self.held[k]) for k in (guide, learner))
        valid = tf.range(self.size, dtype=tf.int64) >= self.size - self.count
        return losses.nearest_neighbors(queries, keys, values, valid)

    def enqueue(self, embeddings: Mapping[str, tf.Tensor]) -> None:
        """Takes in a global batch, in replica context; the oldest go.

        Of a batch that is larger than the queue the last rows stay. One with a NaN or
        an infinity, as of a float16 step that is left out, is not taken in.
        """
        batch = {branch: tf.stop_gradient(embeddings[branch]) for branch in self.held}
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(rows)) for rows in batch.values()]
        )
        for branch, rows in batch.items():
            held = tf.convert_to_tensor(self.held[branch])
            new = tf.concat([held, rows], axis=0)[-self.size :]
            optimizers.write(self.held[branch], tf.where(finite, new, held))
        n_rows = tf.shape(rows, out_type=tf.int64)[0]
        grown = tf.minimum(self.count + n_rows, self.size)
        optimizers.write(self.count, tf.where(finite, grown, self.count))
