"""From media files to TFRecord shards: corpus adapters, manifest, extraction."""

import avl_tf  # noqa: F401  quiets TensorFlow, which must happen before its import
from data_prep import offspring

# The first that a worker imports: what follows may take it seconds.
offspring.follow_parent()
