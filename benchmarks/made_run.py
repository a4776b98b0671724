"""Runs of untrained models, for programs that want a run directory."""

import keras
import tensorflow as tf

from avl_tf import files, runs
from avl_tf.model import ModelConfig
from avl_tf.records import FeatureSpec


def write(
    run_dir: str, model: keras.Model, config: ModelConfig, backbone: str = "random"
) -> None:
    """Writes the run of a model, whose features are of one backbone or two."""
    streams = [FeatureSpec(backbone, dim, 1.0) for dim in config.visual_dims]
    info = runs.RunInfo(
        model=config,
        features_2d=streams[0],
        features_3d=streams[1] if len(streams) > 1 else None,
        log_mel_reference="recording",
        records="",
        records_fingerprint="",
        languages=("xx",),
        parent=None,
        synthetic=True,
    )
    prefix = files.join(runs.checkpoint_prefix(run_dir), "ckpt")
    tf.train.Checkpoint(model=model).save(prefix)
    runs.write_info(run_dir, info)
