"""Still images by path: as a backbone wants them, and as a record keeps them."""

import os

import numpy as np
import tensorflow as tf

from avl_tf import images, media
from avl_tf.backbones import Backbone
from avl_tf.errors import UserError
from avl_tf.media import Limits

_QUALITY = 95
# What a JPEG can hold, in libjpeg's hands.
_LONGEST_SIDE = 65_500


def read(path: str | os.PathLike, limits: Limits = media.DEFAULT_LIMITS) -> np.ndarray:
    """Reads an image as it is seen on a white page: upright, uint8 [H, W, 3].

    Args:
        path: the image.
        limits: how large it may be.

    Raises:
        FileNotFoundError: there is no such file.
        MediaError: it cannot be decoded, or is too large.
    """
    return media.read_on_white(path, limits)


def as_frame(image: np.ndarray, backbone: Backbone) -> np.ndarray:
    """An image as a backbone wants its frames.

    Raises:
        ValueError: the backbone wants motion, or the image is too narrow a strip.
    """
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

    Raises:
        MediaError: no JPEG can hold it.
    """
    if max(image.shape) > _LONGEST_SIDE:
        height, width, _ = image.shape
        raise media.MediaError(
            f"{path}: an image of {width:,} x {height:,} pixels, of which no JPEG has "
            f"more than {_LONGEST_SIDE:,} on a side."
        )
    with open(path, "rb") as file:
        content = file.read()
    small = min(image.shape[:2]) <= images.SHORT_SIDE
    if small and _is_jpeg_of(content, image.shape) and media.orientation(path) == 1:
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
    height, width = image.shape[:2]
    if refusal := media.too_narrow(width, height):
        raise UserError(f"{refusal}.")
    scale = short_side / min(height, width)
    height, width = round(height * scale), round(width * scale)
    return media.resize(image, height, width)
