"""From media files to TFRecord shards: corpus adapters, manifest, extraction."""
