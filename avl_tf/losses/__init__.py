"""Losses by name: pure functions of two batches of embeddings, each a scalar.

Rows i of both belong together. Nothing is normalised. Any two branches may stand where
a signature says audio and visual. Those of softmax and ranking are functions of the
similarity matrix, here of embeddings, whose similarity is the dot product.
"""

from avl_tf.losses import logistic, ranking, softmax
from avl_tf.losses.guided import distillation, nearest_neighbors
from avl_tf.losses.multiple_instance import mil_nce
from avl_tf.losses.similarity import at_least_float32, of_embeddings

__all__ = [
    "at_least_float32",
    "bce",
    "distillation",
    "infonce",
    "max_margin",
    "mil_nce",
    "mms",
    "mms_adaptive",
    "mms_masked",
    "mms_scheduled",
    "nearest_neighbors",
    "triplet",
]

mms = of_embeddings(softmax.mms)
mms_scheduled = of_embeddings(softmax.mms_scheduled)
mms_adaptive = of_embeddings(softmax.mms_adaptive, at_least=2)
mms_masked = of_embeddings(softmax.mms_masked)
infonce = of_embeddings(softmax.infonce)
triplet = of_embeddings(ranking.triplet, at_least=2)
bce = of_embeddings(logistic.bce, at_least=2)
max_margin = of_embeddings(ranking.max_margin)
