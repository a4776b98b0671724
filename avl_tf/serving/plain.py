"""An export's signatures for runtimes without TensorFlow's texts: TFLite and ONNX.

No item is looked at: one that cannot be embedded gives numbers all the same.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from avl_tf import audio, dataset, runs
from avl_tf.model import branch, visual_input
from avl_tf.settings import branches


def of_audio(
    model: keras.Model, info: runs.RunInfo, name: str, width: int = 0
) -> dict[str, Callable]:
    """waveform and log_mel of an audio branch, and log_mels, between the two.

    Args:
        model: the model.
        info: of its run.
        name: of the branch.
        width: frames of the log-mels that log_mels makes; 0 is as many as there are.
    """
    config, heard = info.model.audio, branch(model, name)

    def log_mels(waveform, n_samples):
        log_mel = audio.log_mel(waveform, config, n_samples, portable=True)
        n_frames = audio.n_frames(n_samples, config)
        if width:
            log_mel, n_frames = log_mel[:, :width], tf.minimum(n_frames, width)
        return {"log_mel": log_mel, "n_frames": n_frames}

    def embed(log_mel, n_frames):
        inputs = {"log_mel": log_mel, "n_frames": n_frames}
        return {"audio_embedding": heard(inputs, training=False)}

    def embed_waveform(waveform, n_samples):
        return embed(**log_mels(waveform, n_samples))

    return {"waveform": embed_waveform, "log_mel": embed, "log_mels": log_mels}


def all_of(
    model: keras.Model, info: runs.RunInfo
) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """The signatures of a model by their names, for arrays of any size."""
    found = {}
    n_mels = info.model.audio.n_mels
    for name in info.model.branches[:-1]:
        functions, suffix = of_audio(model, info, name), branches.suffix(name)
        found[f"waveform{suffix}"] = (
            functions["waveform"],
            [_spec("waveform", None, None), _spec("n_samples", None, dtype=tf.int32)],
        )
        found[f"log_mel{suffix}"] = (
            functions["log_mel"],
            [
                _spec("log_mel", None, None, n_mels),
                _spec("n_frames", None, dtype=tf.int32),
            ],
        )
    seen, given = branch(model, "visual"), visual_input(info.model)

    def embed_seen(visual):
        return {"visual_embedding": seen({given: visual}, training=False)}

    if given == "image":
        spec = tf.TensorSpec([None, *model.input["image"].shape[1:]], tf.uint8, given)
        return {**found, given: (embed_seen, [spec])}

    def embed_features(*arrays):
        windows = [tf.math.l2_normalize(one, axis=-1) for one in arrays[::2]]
        masks = [
            tf.sequence_mask(n_steps, tf.shape(window)[1])
            for window, n_steps in zip(windows, arrays[1::2], strict=True)
        ]
        pooling = info.model.visual_pooling
        return embed_seen(dataset.pool_features(windows, masks, pooling))

    specs = []
    for name, stream in (("2d", info.features_2d), ("3d", info.features_3d)):
        if stream:
            specs.append(_spec(f"features_{name}", None, None, stream.dim))
            specs.append(_spec(f"n_{name}", None, dtype=tf.int32))
    width = sum(info.model.visual_dims)
    found["visual"] = embed_seen, [_spec("visual", None, width)]
    return {**found, "features": (embed_features, specs)}


def _spec(name, *shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name)
