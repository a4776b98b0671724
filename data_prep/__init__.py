"""From media files to TFRecord shards: corpus adapters, manifest, extraction."""

import avl_tf  # noqa: F401  quiets TensorFlow, which must happen before its import
