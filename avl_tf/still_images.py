"""Still images by path: as a backbone wants them, and as a record keeps them."""

import os

import numpy as np
import tensorflow as tf

from avl_tf import images, media
from avl_tf.backbones import Backbone
from avl_tf.errors import UserError

_QUALITY = 95


def read(path: str | os.PathLike) -> np.ndarray:
    """Reads an image as it is seen on a white page: upright, uint8 [H, W, 3].

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it cannot be decoded.
    """
    image = media.read_image(path)
    colour, alpha = image[..., :3], image[..., 3:]
    if alpha.min() == 255:
        return colour
    share = alpha / 255
    return np.round(colour * share + 255 * (1 - share)).astype(np.uint8)


def as_frame(image: np.ndarray, backbone: Backbone) -> np.ndarray:
    """An image as a backbone wants its frames; ValueError if it wants motion."""
    if backbone.frames_per_feature > 1:
        raise UserError(
            f"{backbone.name} needs {backbone.frames_per_feature} frames of video, "
            "this is an image. Leave --backbone_3d empty for images."
        )
    return _scaled(image, backbone.short_side)


def as_jpeg(path: str, image: np.ndarray) -> bytes:
    """An image as a record keeps it: a JPEG, scaled down to images.SHORT_SIDE.

    Args:
        path: the file it comes from, whose bytes are kept if they are such a JPEG.
        image: what read(path) returned.
    """
    with open(path, "rb") as file:
        content = file.read()
    small = min(image.shape[:2]) <= images.SHORT_SIDE
    if small and media.orientation(path) == 1 and _is_jpeg_of(content, image.shape):
        return content
    if not small:
        image = _scaled(image, images.SHORT_SIDE)
    return tf.io.encode_jpeg(image, quality=_QUALITY).numpy()


def _is_jpeg_of(content: bytes, shape: tuple[int, ...]) -> bool:
    """Whether training can decode it, which is stricter than FFmpeg."""
    try:
        return tf.io.is_jpeg(content) and images.decode_jpeg(content).shape == shape
    except tf.errors.InvalidArgumentError:
        return False


def _scaled(image: np.ndarray, short_side: int) -> np.ndarray:
    scale = short_side / min(image.shape[:2])
    height, width = (round(side * scale) for side in image.shape[:2])
    return media.resize(image, height, width)
