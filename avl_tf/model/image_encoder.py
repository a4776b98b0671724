"""Image encoders that are trained with the rest of the model.

In: uint8 RGB crops. Out: one L2-normalised vector each, as the frozen 2-D features are;
or the map before its mean, for matchmaps.
"""

import os

import keras

from avl_tf.backbones import efficientnet_lite, resnet
from avl_tf.backbones.trainable import Trainable
from avl_tf.errors import UserError
from avl_tf.images import SIDE
from avl_tf.model import heads
from avl_tf.settings.model import IMAGE_ENCODERS

LAYER = "image_encoder"


def build(name: str, trainable: Trainable, as_map: bool = False) -> keras.Model:
    """Builds an encoder: uint8 [B, SIDE, SIDE, 3] -> float32 [B, D], of length 1.

    Args:
        name: one of IMAGE_ENCODERS, which are names of backbones too.
        trainable: how.
        as_map: -> [B, 7, 7, D], the map of the last convolution as it is.

    Raises:
        ValueError: there is no such encoder.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.3: in training on images the CNN
        of the frozen features is updated.
    Differs: the vector is L2-normalised, which the paper does not say, so that a model
        that was trained on frozen features goes on.
    """
    if name not in IMAGE_ENCODERS:
        raise UserError(
            f"--image_encoder={name}: expected one of {', '.join(IMAGE_ENCODERS)}, or "
            "nothing for frozen features."
        )
    if name in resnet.BLOCKS:
        network = resnet.network(name, trainable)
    else:
        network = efficientnet_lite.network(trainable)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    if as_map:
        before_mean = network.layers[-1].input
        network = keras.Model(network.input, before_mean, name=network.name)
        return keras.Model(image, network(image), name=LAYER)
    unit = keras.layers.UnitNormalization(dtype="float32", name="unit_length")
    return keras.Model(image, unit(network(image)), name=LAYER)


def embedded_map(
    image_map: keras.KerasTensor, width: int, initialize: bool
) -> keras.KerasTensor:
    """Embeds each place of a map [B, H, W, D] by a 1 x 1 convolution: [B, H, W, width].

    Source: DAVEnet-pytorch models/ImageModels.py, of its ResNets.
    """
    kernel, bias = (heads.uniform(image_map.shape[-1], initialize) for _ in range(2))
    return keras.layers.Conv2D(
        width, 1, kernel_initializer=kernel, bias_initializer=bias, name="image_map"
    )(image_map)


def load_weights(encoder: keras.Model, name: str, weights: str) -> None:
    """Sets the weights of an encoder from build(name).

    Args:
        encoder: of the full width.
        name: what it was built as.
        weights: path of a .pth, or "imagenet" for efficientnet_lite0's of its package.

    Raises:
        ValueError: the file holds other weights, or there is none of that name.
        FileNotFoundError: there is no such file.
    """
    module = resnet if name in resnet.BLOCKS else efficientnet_lite
    if weights == "imagenet":
        if module is resnet:
            raise UserError(
                f"--image_weights=imagenet is for efficientnet_lite0: for {name} give "
                "the path of torchvision's .pth."
            )
        weights = str(efficientnet_lite.packaged_weights())
    if not os.path.exists(weights):
        raise FileNotFoundError(f"--image_weights={weights}: there is no such file.")
    module.load_weights(encoder.get_layer(name), weights)
