"""Losses by name: pure functions of two batches of embeddings, each a scalar.

Rows i of both belong together. Nothing is normalised. Any two branches may stand where
a signature says audio and visual.
"""

from avl_tf.losses.guided import distillation, nearest_neighbors
from avl_tf.losses.ranking import max_margin, triplet
from avl_tf.losses.similarity import at_least_float32
from avl_tf.losses.softmax import (
    infonce,
    mms,
    mms_adaptive,
    mms_masked,
    mms_scheduled,
)

__all__ = [
    "at_least_float32",
    "distillation",
    "infonce",
    "max_margin",
    "mms",
    "mms_adaptive",
    "mms_masked",
    "mms_scheduled",
    "nearest_neighbors",
    "triplet",
]
