"""avl_tf's log-mel, one waveform a call. Settings: as waveforms'; found: an .npz."""

import numpy as np
import tensorflow as tf

from avl_tf import audio
from benchmarks.inputs import waveforms
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    config = audio.AudioConfig()
    given = [
        tf.constant(waveform[np.newaxis])
        for waveform in waveforms(settings["n_waveforms"], settings["n_samples"])
    ]
    compute = tf.function(lambda waveform: audio.log_mel(waveform, config))

    def work():
        found = [compute(waveform).numpy()[0] for waveform in given]
        save_once(settings["found"], log_mel=found)
        return {"n_waveforms": len(found)}

    return work


if __name__ == "__main__":
    serve(prepare)
