"""JPEG and PNG files in TF ops: encoded bytes in, crops and reasons out."""

import tensorflow as tf

from avl_tf import images
from avl_tf.serving.faults import first_reason, worded

# A quarter of a gigabyte in RGB; Pillow's limit too.
MAX_PIXELS = 89_478_485
_DAMAGED = "damaged: it cannot be decoded"
_PNG = b"\x89PNG\r\n\x1a\n"


def decode(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes image files and cuts out the crops of evaluation.

    Args:
        contents: string [B], the bytes of the files.

    Returns:
        uint8 [B, SIDE, SIDE, 3], and string [B]: why there is no crop, or empty. With
        a reason the crop is black.
    """
    # No decoder of TensorFlow's tells a damaged file without failing; a dataset alone
    # goes on after that. What stands for such files comes first.
    crop = tf.zeros([images.SIDE, images.SIDE, 3], tf.uint8)
    missing = (tf.constant(-1, tf.int64), (crop, tf.constant(_DAMAGED)))
    n_files = tf.size(contents, tf.int64)
    files = tf.data.Dataset.from_tensor_slices(contents).enumerate()
    files = files.map(lambda index, content: (index, _decode(content)))
    files = tf.data.Dataset.from_tensors(missing).concatenate(files.ignore_errors())
    options = tf.data.Options()
    # It would look for them at every call, for a tenth of a second.
    options.experimental_optimization.apply_default_optimizations = False
    files = files.batch(n_files + 1).with_options(options)
    indices, (crops, reasons) = files.get_single_element()
    places = tf.range(1, tf.size(indices))
    where = tf.scatter_nd(indices[1:, tf.newaxis], places, [n_files])
    return tf.gather(crops, where), tf.gather(reasons, where)


def _decode(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """As decode, of one file; of a damaged one, an error of TensorFlow's."""
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
        (
            ~is_jpeg & ~is_png,
            "not a JPEG or PNG file: convert it by ffmpeg -i FILE NEW.png",
        ),
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
