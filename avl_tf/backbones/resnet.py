"""ResNets in torchvision's variant, which made the authors' 2-D features.

In: uint8 RGB images of any size. Out: 512 or 2,048 features an image. keras:ResNet152
is another variant: its stride is in the first 1 x 1, and its weights are others.
"""

from collections.abc import Callable

import keras
import numpy as np

from avl_tf.backbones import folding
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
        raise ValueError(
            f"{name} needs weights: the path of torchvision's ImageNet file for {name} "
            "(the authors' resnet152 features are of the V1 weights, "
            "resnet152-b121ed2d.pth or resnet152-394f9c45.pth). For weights that Keras "
            "fetches by itself use keras:ResNet50 or the like."
        )
    state = state_dict(weights)
    model = _network(name)
    folding.load_folded(model, state, weights, norm_name, epsilon=1e-5, ignored="fc.")
    return model, weights


def norm_name(convolution: str) -> str:
    """Name of the batch norm after a convolution, in torchvision's naming."""
    return convolution.replace("conv", "bn").replace("downsample.0", "downsample.1")


def _network(name: str) -> keras.Model:
    images = keras.Input((None, None, 3), dtype="uint8")
    stddev = _STDDEV + 1e-8  # the authors'
    x = keras.layers.Rescaling(1 / (255 * stddev), offset=-_MEAN / stddev)(images)
    x = _convolution(x, 64, 7, "conv1", stride=2)
    # PyTorch pads the maximum with -inf; after a ReLU zeros do the same.
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.MaxPooling2D(3, 2)(x)
    block = _basic_block if name in ("resnet18", "resnet34") else _bottleneck
    for stage, n_blocks in enumerate(BLOCKS[name]):
        for index in range(n_blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(x, 64 * 2**stage, stride, f"layer{stage + 1}.{index}.")
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, x, name=name)
    model.trainable = False
    return model


def _basic_block(x, channels, stride, prefix):
    shortcut = _shortcut(x, channels, stride, prefix)
    x = _convolution(x, channels, 3, f"{prefix}conv1", stride)
    x = _convolution(x, channels, 3, f"{prefix}conv2", activation=False)
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def _bottleneck(x, channels, stride, prefix):
    shortcut = _shortcut(x, 4 * channels, stride, prefix)
    x = _convolution(x, channels, 1, f"{prefix}conv1")
    x = _convolution(x, channels, 3, f"{prefix}conv2", stride)
    x = _convolution(x, 4 * channels, 1, f"{prefix}conv3", activation=False)
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def _shortcut(x, channels, stride, prefix):
    if stride == 1 and x.shape[-1] == channels:
        return x
    return _convolution(x, channels, 1, f"{prefix}downsample.0", stride, False)


def _convolution(x, channels, kernel_size, name, stride=1, activation=True):
    # Not padding="same": that pads a stride of 2 by less on the left, PyTorch evenly.
    if kernel_size > 1:
        x = keras.layers.ZeroPadding2D(kernel_size // 2)(x)
    x = keras.layers.Conv2D(channels, kernel_size, stride, name=name)(x)
    return keras.layers.ReLU()(x) if activation else x
