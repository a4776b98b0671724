"""A model for ONNX: onnx/SIGNATURE.onnx for waveform, log_mel, visual and features.

Inputs, by the names and shapes of the export's signatures, go in; out comes the
embedding alone. What is wrong with an item is not told.
"""

import keras
import numpy as np
import tensorflow as tf

from avl_tf import files, runs
from avl_tf.errors import UserError
from avl_tf.serving import plain

_OPSET = 18
_TOLERANCE = 1e-4


def write(folder: str, model: keras.Model, info: runs.RunInfo) -> None:
    """Writes the files and checks each against the model by ONNX Runtime.

    Raises:
        UserError: the extra onnx is not installed, or a file does not embed as the
            model does.
    """
    try:
        import onnxruntime  # slow, and an extra
        import tf2onnx
    except ImportError as error:
        raise UserError(
            f"--onnx needs tf2onnx and onnxruntime ({error}): pip install "
            "'avl_tf[onnx]'."
        ) from error
    tf.io.gfile.makedirs(folder)
    random = np.random.default_rng(0)
    for name, (function, given) in plain.all_of(model, info).items():
        traced = tf.function(function, input_signature=given)
        made, _ = tf2onnx.convert.from_function(
            traced, input_signature=given, opset=_OPSET
        )
        content = made.SerializeToString()
        inputs = {spec.name: _made(spec, info, random) for spec in given}
        (expected,) = traced(*inputs.values()).values()
        (found,) = onnxruntime.InferenceSession(content).run(None, inputs)
        off = np.abs(found - expected).max() / np.abs(expected).max()
        if not off <= _TOLERANCE:
            raise UserError(
                f"{name}.onnx is off by {off:.2g} of the largest value of the model's "
                "embedding; the export is not kept."
            )
        with tf.io.gfile.GFile(files.join(folder, f"{name}.onnx"), "wb") as out:
            out.write(content)


def _made(
    spec: tf.TensorSpec, info: runs.RunInfo, random: np.random.Generator
) -> np.ndarray:
    """Noise for an input: two items, of a second or of three time steps."""
    length = {
        "waveform": info.model.audio.sample_rate,
        "log_mel": round(info.model.audio.frame_rate),
    }.get(spec.name, 3)
    if spec.dtype == tf.int32:
        whole = {
            "n_samples": info.model.audio.sample_rate,
            "n_frames": round(info.model.audio.frame_rate),
        }.get(spec.name, 3)
        return np.array([whole, whole - whole // 3], np.int32)
    sizes = [2, *(length if size is None else size for size in spec.shape[1:])]
    if spec.dtype == tf.uint8:
        return random.integers(0, 256, sizes, dtype=np.uint8)
    low, high = (-80, 0) if spec.name == "log_mel" else (0, 0.3)
    return random.uniform(low, high, sizes).astype(np.float32)
