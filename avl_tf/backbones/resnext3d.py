"""ResNeXt-101 over clips of 16 frames, which made the authors' 3-D features.

In: uint8 RGB frames, 112 x 112, 24 a second. Out: 2,048 features for each 16 frames.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from avl_tf.backbones import folding
from avl_tf.backbones.resnet import norm_name
from avl_tf.errors import UserError
from avl_tf.torch_weights import state_dict

FRAMES_PER_CLIP = 16
SIDE = 112
_BLOCKS = (3, 4, 23, 3)
_N_GROUPS = 32
_MEAN = (110.6, 103.2, 96.3)  # RGB, 0-255


def load(weights: str | None) -> tuple[Callable, str]:
    """Loads the network.

    Args:
        weights: path of the authors' resnext101.pth.

    Returns:
        uint8 [16 n, 112, 112, 3] RGB tensor -> float32 [n, 2048]; and what the weights
        were read from.

    Raises:
        ValueError: no file is given, or it holds other weights.
        FileNotFoundError: there is no such file.

    Source: Hara et al. 2018, ResNeXt-101 (shortcut B, cardinality 32) on Kinetics; the
    authors' features (video_feature_extractor: resnext.py, preprocessing.py).
    Differs: batch norms are folded.
    """
    if not weights:
        raise UserError(
            "resnext101_3d needs weights: the path of resnext101.pth, the Kinetics "
            "file that the README of video_feature_extractor (antoine77340) links to."
        )
    state = state_dict(weights)
    model = _network()
    folding.load_state(model, state, weights, norm_name, epsilon=1e-5, ignored="fc.")

    def compute(frames: tf.Tensor) -> tf.Tensor:
        return model(tf.reshape(frames, (-1, FRAMES_PER_CLIP, SIDE, SIDE, 3)))

    return compute, weights


class GroupedConv3D(keras.layers.Layer):
    """Conv3D(3, groups=32), one convolution a group: no kernel on a CPU takes groups.

    Attributes:
        kernel: [3, 3, 3, channels / 32, channels].
        bias: [channels].
    """

    def __init__(self, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def build(self, input_shape):
        """Makes kernel and bias for inputs of shape [B, T, H, W, channels]."""
        channels = input_shape[-1]
        shape = (3, 3, 3, channels // _N_GROUPS, channels)
        self.kernel = self.add_weight(shape=shape, name="kernel")
        self.bias = self.add_weight(shape=(channels,), name="bias")

    def call(self, inputs):
        """Convolves [B, T, H, W, channels] without padding."""
        groups = zip(
            tf.split(inputs, _N_GROUPS, axis=-1),
            tf.split(tf.convert_to_tensor(self.kernel), _N_GROUPS, axis=-1),
            strict=True,
        )
        strides = (1, self.stride, self.stride, self.stride, 1)
        outputs = [tf.nn.conv3d(x, kernel, strides, "VALID") for x, kernel in groups]
        return tf.concat(outputs, axis=-1) + self.bias


def _network() -> keras.Model:
    clips = keras.Input((FRAMES_PER_CLIP, SIDE, SIDE, 3), dtype="uint8")
    x = keras.layers.Rescaling(1.0, offset=[-mean for mean in _MEAN])(clips)
    x = keras.layers.ZeroPadding3D(3)(x)
    x = keras.layers.Conv3D(64, 7, (1, 2, 2), name="conv1")(x)
    x = keras.layers.ReLU()(x)
    # PyTorch pads the maximum with -inf; after a ReLU zeros do the same.
    x = keras.layers.ZeroPadding3D(1)(x)
    x = keras.layers.MaxPooling3D(3, 2)(x)
    for stage, n_blocks in enumerate(_BLOCKS):
        for index in range(n_blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            x = _block(x, 128 * 2**stage, stride, f"layer{stage + 1}.{index}.")
    x = keras.layers.GlobalAveragePooling3D()(x)
    model = keras.Model(clips, x, name="resnext101_3d")
    model.trainable = False
    return model


def _block(x, channels, stride, prefix):
    shortcut = x
    if stride > 1 or x.shape[-1] != 2 * channels:
        shortcut = _pointwise(x, 2 * channels, f"{prefix}downsample.0", stride)
    x = keras.layers.ReLU()(_pointwise(x, channels, f"{prefix}conv1"))
    x = keras.layers.ZeroPadding3D(1)(x)
    x = keras.layers.ReLU()(GroupedConv3D(stride, name=f"{prefix}conv2")(x))
    x = _pointwise(x, 2 * channels, f"{prefix}conv3")
    return keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))


def _pointwise(x, channels, name, stride=1):
    return keras.layers.Conv3D(channels, 1, stride, name=name)(x)
