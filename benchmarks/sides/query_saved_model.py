"""A spoken query embedded by the export, with TensorFlow alone.

Settings: export: the SavedModel; n_samples; found: an .npz.
"""

import tensorflow as tf

from benchmarks.inputs import waveforms
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    model = tf.saved_model.load(settings["export"])
    waveform = tf.constant(waveforms(1, settings["n_samples"]))
    n_samples = tf.constant([settings["n_samples"]])

    def work():
        embed = model.signatures["waveform"]
        found = embed(waveform=waveform, n_samples=n_samples)["audio_embedding"]
        save_once(settings["found"], audio_embedding=found.numpy())
        return {}

    return work


if __name__ == "__main__":
    serve(prepare)
