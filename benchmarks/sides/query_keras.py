"""A spoken query embedded by the Keras model, called in Python.

Settings: model (of ModelConfig); n_samples; run_dir: where a run is made and exported
for the other side, in its export/1; found: an .npz.
"""

import keras
import numpy as np
import tensorflow as tf

from avl_tf import audio, serving
from avl_tf.model import ModelConfig, branch, build_model
from benchmarks import made_run
from benchmarks.inputs import waveforms
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    keras.utils.set_random_seed(0)
    config = ModelConfig(**settings["model"])
    model = build_model(config)
    made_run.write(settings["run_dir"], model, config)
    serving.export(settings["run_dir"])
    embed = branch(model, "audio")
    waveform = tf.constant(waveforms(1, settings["n_samples"]))
    n_frames = tf.constant([audio.n_frames(settings["n_samples"], config.audio)])

    def work():
        log_mel = audio.log_mel(waveform, config.audio)
        found = embed({"log_mel": log_mel, "n_frames": n_frames}, training=False)
        save_once(settings["found"], audio_embedding=np.array(found))
        return {}

    return work


if __name__ == "__main__":
    serve(prepare)
