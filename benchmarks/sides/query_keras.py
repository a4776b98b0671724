"""A spoken query embedded by the Keras model, called in Python.

Settings: model (of ModelConfig); n_samples; run_dir: where a run is made and exported
for the other side, in its export/1; found: an .npz.
"""

import keras
import numpy as np
import tensorflow as tf

from avl_tf import audio, files, runs, serving
from avl_tf.model import ModelConfig, branch, build_model
from avl_tf.records import FeatureSpec
from benchmarks.inputs import waveforms
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    keras.utils.set_random_seed(0)
    config = ModelConfig(**settings["model"])
    model = build_model(config)
    _export(model, config, settings["run_dir"])
    embed = branch(model, "audio")
    waveform = tf.constant(waveforms(1, settings["n_samples"]))
    n_frames = tf.constant([audio.n_frames(settings["n_samples"], config.audio)])

    def work():
        log_mel = audio.log_mel(waveform, config.audio)
        found = embed({"log_mel": log_mel, "n_frames": n_frames}, training=False)
        save_once(settings["found"], audio_embedding=np.array(found))
        return {}

    return work


def _export(model: keras.Model, config: ModelConfig, run_dir: str) -> None:
    streams = [FeatureSpec("random", dim, 1.0) for dim in config.visual_dims]
    info = runs.RunInfo(
        model=config,
        features_2d=streams[0],
        features_3d=streams[1],
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
    serving.export(run_dir)


if __name__ == "__main__":
    serve(prepare)
