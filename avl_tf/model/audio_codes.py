"""The audio tower up to its codebooks: which code each local audio feature becomes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from avl_tf.model import branch
from avl_tf.model.heads import MeanPool
from avl_tf.model.quantizer import VectorQuantizer


class Codes(NamedTuple):
    """The codes of one layer, in evaluation.

    codes: int32 [B, T']. n_steps: int32 [B], how many of them hold audio. step_frames:
    int32 [], how many frames of log-mel each takes.
    """

    codes: tf.Tensor
    n_steps: tf.Tensor
    step_frames: tf.Tensor


def codebooks(model: keras.Model, name: str) -> dict[str, VectorQuantizer]:
    """The codebooks of an audio branch of a model, by their names: quant3 and so on."""
    layers = branch(model, name).layers
    return {x.name: x for x in layers if isinstance(x, VectorQuantizer)}


def build(
    model: keras.Model, name: str
) -> Callable[[Mapping[str, tf.Tensor]], dict[str, Codes]]:
    """Makes a function of log_mel [B, T, F] and n_frames [B]: codes by layer."""
    held = codebooks(model, name)
    features = {layer: one.input[0] for layer, one in held.items()}
    tower = keras.Model(branch(model, name).input, features)

    @tf.function(reduce_retracing=True)
    def code(inputs: Mapping[str, tf.Tensor]) -> dict[str, Codes]:
        log_mel, n_frames = inputs["log_mel"], inputs["n_frames"]
        heard = tower({"log_mel": log_mel, "n_frames": n_frames}, training=False)
        found = {}
        for layer, values in heard.items():
            codes = held[layer].codes(values)[:, 0]
            length, n_steps = tf.shape(log_mel)[1], tf.shape(codes)[1]
            step_frames, valid = MeanPool.steps(n_frames, length, n_steps)
            found[layer] = Codes(codes, valid, step_frames)
        return found

    return code
