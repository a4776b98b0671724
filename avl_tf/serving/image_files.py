"""JPEG and PNG files in TF ops: encoded bytes in, a crop or a reason out."""

import tensorflow as tf

from avl_tf import images
from avl_tf.serving.faults import first_reason, worded

# A quarter of a gigabyte in RGB; Pillow's limit too.
MAX_PIXELS = 89_478_485
_PNG = b"\x89PNG\r\n\x1a\n"


def decode(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image file and cuts out the crop of evaluation.

    Args:
        content: string scalar, the bytes of the file.

    Returns:
        uint8 [SIDE, SIDE, 3], and a string scalar: why there is no crop, or empty. With
        a reason the crop is black. Of a damaged file, InvalidArgumentError: no
        operation of TensorFlow's tells one without failing.
    """
    is_jpeg = tf.io.is_jpeg(content)
    is_png = tf.equal(tf.strings.substr(content, 0, 8), _PNG)
    is_png &= tf.strings.length(content) >= 24
    n_pixels = tf.case(
        [
            (is_jpeg, lambda: _product(tf.io.extract_jpeg_shape(content)[:2])),
            (is_png, lambda: _product(_png_size(content))),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )
    reason = first_reason(
        (~is_jpeg & ~is_png, "not a JPEG or PNG file"),
        (
            n_pixels > MAX_PIXELS,
            worded("it has ", n_pixels, f" pixels, at most {MAX_PIXELS} are read"),
        ),
    )
    crop = tf.cond(
        tf.equal(reason, ""),
        lambda: images.centre_crop(images.decode(content)),
        lambda: tf.zeros([images.SIDE, images.SIDE, 3], tf.uint8),
    )
    return crop, reason


def _png_size(content: tf.Tensor) -> tf.Tensor:
    """Width and height, at most 2^32 - 1 each."""
    text = tf.strings.substr(content, 16, 8)
    halves = tf.io.decode_raw(text, tf.uint16, little_endian=False)
    halves = tf.reshape(tf.cast(halves, tf.int64), [2, 2])
    return tf.reduce_sum(halves * [65536, 1], axis=1)


def _product(size: tf.Tensor) -> tf.Tensor:
    # In double precision, because 2^64 pixels would be none.
    product = tf.reduce_prod(tf.cast(size, tf.float64))
    return tf.cast(tf.minimum(product, 2.0**62), tf.int64)
