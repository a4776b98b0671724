"""ResNets in torchvision's variant, which made the authors' 2-D features.

In: uint8 RGB images of any size. Out: 512 or 2,048 features an image. keras:ResNet152
is another variant: its stride is in the first 1 x 1, and its weights are others.
"""

import functools
import os
from collections.abc import Callable

import keras
import numpy as np

from avl_tf.backbones import folding
from avl_tf.backbones.trainable import Trainable, scaled
from avl_tf.errors import UserError
from avl_tf.torch_weights import state_dict

# Blocks of each of the four stages.
BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
_MEAN = np.array([0.485, 0.456, 0.406])
_STDDEV = np.array([0.229, 0.224, 0.225])
_EPSILON = 1e-5


def load(name: str, weights: str | None) -> tuple[Callable, str]:
    """Loads one of BLOCKS.

    Args:
        name: a key of BLOCKS.
        weights: path of torchvision's .pth.

    Returns:
        uint8 [K, H, W, 3] RGB tensor -> float32 [K, 2048] (resnet18, resnet34: 512),
        the mean over the map of the last stage; and what the weights were read from.

    Raises:
        ValueError: no file is given, or it holds other weights.
        FileNotFoundError: there is no such file.

    Source: He et al. 2016; torchvision's resnet.py; the authors' features
    (video_feature_extractor: model.py, preprocessing.py).
    Differs: batch norms are folded.
    """
    if not weights:
        raise UserError(
            f"{name} needs weights: the path of torchvision's ImageNet file for {name} "
            "(the authors' resnet152 features are of the V1 weights, "
            "resnet152-b121ed2d.pth or resnet152-394f9c45.pth). efficientnet_lite0 "
            "brings weights of its own, keras:ResNet50 or the like fetches them."
        )
    if not os.path.exists(weights):
        raise FileNotFoundError(f"{name}: there is no file {weights}.")
    model = network(name)
    model.trainable = False
    load_weights(model, weights)
    return model, weights


def load_weights(model: keras.Model, weights: str) -> None:
    """Sets the weights of a model from network() by torchvision's .pth.

    Raises:
        ValueError: the file holds other weights.
        FileNotFoundError: there is no such file.
    """
    state = state_dict(weights)
    folding.load_state(model, state, weights, norm_name, _EPSILON, ignored="fc.")


def norm_name(convolution: str) -> str:
    """Name of the batch norm after a convolution, in torchvision's naming."""
    return convolution.replace("conv", "bn").replace("downsample.0", "downsample.1")


def network(name: str, trainable: Trainable | None = None) -> keras.Model:
    """Builds one of BLOCKS: uint8 [K, H, W, 3] RGB -> the mean of the last map [K, D].

    Args:
        name: a key of BLOCKS.
        trainable: how, if it is to learn; None has batch norms folded.
    """
    convolution = functools.partial(_convolution, trainable=trainable)
    images = keras.Input((None, None, 3), dtype="uint8")
    stddev = _STDDEV + 1e-8  # the authors'
    x = keras.layers.Rescaling(
        1 / (255 * stddev), offset=-_MEAN / stddev, dtype="float32"
    )(images)
    width = scaled(trainable, 64)
    x = convolution(x, width, 7, "conv1", stride=2)
    # PyTorch pads the maximum with -inf; after a ReLU zeros do the same.
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.MaxPooling2D(3, 2)(x)
    block = _basic_block if name in ("resnet18", "resnet34") else _bottleneck
    for stage, n_blocks in enumerate(BLOCKS[name]):
        for index in range(n_blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            prefix = f"layer{stage + 1}.{index}."
            x = block(x, width * 2**stage, stride, prefix, convolution)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, x, name=name)


def _basic_block(x, channels, stride, prefix, convolution):
    shortcut = _shortcut(x, channels, stride, prefix, convolution)
    x = convolution(x, channels, 3, f"{prefix}conv1", stride)
    x = convolution(x, channels, 3, f"{prefix}conv2", activation=False)
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def _bottleneck(x, channels, stride, prefix, convolution):
    shortcut = _shortcut(x, 4 * channels, stride, prefix, convolution)
    x = convolution(x, channels, 1, f"{prefix}conv1")
    x = convolution(x, channels, 3, f"{prefix}conv2", stride)
    x = convolution(x, 4 * channels, 1, f"{prefix}conv3", activation=False)
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def _shortcut(x, channels, stride, prefix, convolution):
    if stride == 1 and x.shape[-1] == channels:
        return x
    return convolution(x, channels, 1, f"{prefix}downsample.0", stride, False)


def _convolution(
    x, channels, kernel_size, name, stride=1, activation=True, *, trainable
):
    # Not padding="same": that pads a stride of 2 by less on the left, PyTorch evenly.
    if kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2)(x)
    elif trainable and stride > 1:
        # The same, and of few channels the gradient of a 1 x 1 kernel with a stride
        # writes where it must not on CPUs (TensorFlow 2.16 with oneDNN: aborts).
        x, stride = x[:, ::stride, ::stride], 1
    more = trainable.convolution(kernel_size**2 * channels) if trainable else {}
    x = keras.layers.Conv2D(channels, kernel_size, stride, name=name, **more)(x)
    if trainable:
        x = trainable.norm(x, norm_name(name), _EPSILON)
    return keras.layers.ReLU()(x) if activation else x
