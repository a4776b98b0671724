"""What a stage minimises: a batch's embeddings in, named loss terms out.

A new loss is a function of avl_tf.losses and a term here; the training step knows none
of them.
"""

from collections.abc import Mapping

import tensorflow as tf

from avl_tf import losses
from avl_tf.settings.stage import StageConfig


class Objective:
    """The loss terms of a stage; their sum is its loss.

    It holds no variables: a checkpoint is of TrainState, where one that is learnt or
    remembered belongs.
    """

    def __init__(self, stage: StageConfig):
        """Takes the settings of the losses."""
        self._margin = stage.margin

    def __call__(self, embeddings: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Computes the terms over a global batch.

        Args:
            embeddings: float [G, D] by branch ("audio", "visual"), rows i of all
                belonging together.

        Returns:
            Scalars by the branches they bring together, as in "audio-visual".
        """
        return {
            "audio-visual": losses.masked_margin_softmax(
                embeddings["audio"], embeddings["visual"], self._margin
            )
        }
