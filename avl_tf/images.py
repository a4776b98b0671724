"""Still images in TF ops: encoded bytes in, crops for a trainable image encoder out.

All crops are uint8 [SIDE, SIDE, 3], RGB, scaled by bilinear interpolation that averages
where it makes smaller, as Pillow does it for torchvision: no value differs by more than
2 of 255.

Source: RandomResizedCrop, Resize(256) and CenterCrop of torchvision, as in Harwath et
al. 2018 (DAVEnet), image_caption_dataset.py.
"""

import math

import tensorflow as tf

SIDE = 224
# Evaluation scales the shorter side to this before it cuts the middle out.
SHORT_SIDE = 256
MAX_MEGAPIXELS = 100
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10


def decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG to uint8 [H, W, 3], to the bit as Pillow does."""
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def decode(content: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG or PNG to uint8 [H, W, 3]; of a PNG's alpha nothing is kept.

    What claims more than MAX_MEGAPIXELS is an error before memory is taken for it.
    """
    sides = tf.cast(_claimed_size(content), tf.int64)
    fits = tf.debugging.Assert(
        tf.reduce_prod(sides) <= MAX_MEGAPIXELS * 1_000_000,
        [f"an image claims more than {MAX_MEGAPIXELS} million pixels:", sides],
    )
    with tf.control_dependencies([fits] if fits is not None else []):
        content = tf.identity(content)
    image = tf.cond(
        tf.io.is_jpeg(content),
        lambda: decode_jpeg(content),
        lambda: tf.io.decode_png(content, channels=3),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _claimed_size(content: tf.Tensor) -> tf.Tensor:
    """int32 [2], the sides that a header tells; zeros if it is of another format."""
    # decode_png takes a GIF too.
    padded = content + tf.constant(bytes(24))
    png = tf.io.decode_raw(tf.strings.substr(padded, 16, 8), tf.int32, False)
    gif = tf.io.decode_raw(tf.strings.substr(padded, 6, 4), tf.uint16)
    magic = tf.strings.substr(padded, 0, 4)
    other = tf.where(
        magic == b"\x89PNG",
        png,
        tf.where(magic == b"GIF8", tf.cast(gif, tf.int32), [0, 0]),
    )
    return tf.cond(
        tf.io.is_jpeg(content),
        lambda: tf.image.extract_jpeg_shape(content)[:2],
        lambda: other,
    )


def centre_crop(image: tf.Tensor) -> tf.Tensor:
    """The crop of evaluation: the shorter side scaled to SHORT_SIDE, then its middle.

    Args:
        image: uint8 [H, W, 3].

    Returns:
        uint8 [SIDE, SIDE, 3].
    """
    size = tf.shape(image)[:2]
    # The longer side is rounded down, half pixels of the place go to the even one.
    scaled = SHORT_SIDE * size // tf.reduce_min(size)
    corner = tf.round(tf.cast(scaled - SIDE, tf.float32) / 2)
    # In one go: of a long strip scaled up, only the middle is ever made.
    return _scale(image, tf.cast(scaled / size, tf.float32), -corner)


def random_crops(image: tf.Tensor, n_crops: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The crops of training: parts of an image, each scaled to SIDE x SIDE.

    Args:
        image: uint8 [H, W, 3].
        n_crops: int32 scalar, M.
        seed: int64 [2]; the crops are a function of it and of the image.

    Returns:
        uint8 [M, SIDE, SIDE, 3].
    """
    boxes = random_boxes(tf.shape(image)[:2], n_crops, seed)

    def crop(box):
        part = image[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
        return _scale(part, SIDE / tf.cast(box[2:], tf.float32), tf.zeros([2]))

    crops = tf.map_fn(crop, boxes, fn_output_signature=tf.uint8)
    return tf.ensure_shape(crops, [None, SIDE, SIDE, 3])


def random_boxes(size: tf.Tensor, n_boxes: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws what RandomResizedCrop cuts out.

    Args:
        size: int32 [2], H and W.
        n_boxes: int32 scalar, M.
        seed: int64 [2].

    Returns:
        int32 [M, 4]: top, left, height, width. Of ten tries of an area and a ratio of
        width to height the first that fits, at a random place; else the largest part
        in the middle whose ratio is allowed.
    """
    sides = tf.cast(size, tf.float32)
    seeds = tf.random.split(seed, 3)
    area, log_ratio = (
        tf.random.stateless_uniform([n_boxes, _TRIES], one, *limits)
        for one, limits in (
            (seeds[0], _AREA),
            (seeds[1], [math.log(end) for end in _RATIO]),
        )
    )
    area, stretch = area * tf.reduce_prod(sides), tf.exp(log_ratio)
    tried = tf.round(tf.sqrt(tf.stack([area / stretch, area * stretch], axis=-1)))
    fits = tf.reduce_all((tried > 0) & (tried <= sides), axis=-1)
    first = tf.argmax(fits, axis=1)
    drawn = tf.gather(tried, first, batch_dims=1)
    place = tf.random.stateless_uniform([n_boxes, 2], seeds[2])
    corner = tf.floor(place * (sides - drawn + 1))
    # A product may be rounded up to the number it should stay below.
    corner = tf.minimum(corner, sides - drawn)
    largest = tf.stack(
        [
            tf.minimum(sides[0], tf.round(sides[1] / _RATIO[0])),
            tf.minimum(sides[1], tf.round(sides[0] * _RATIO[1])),
        ]
    )
    middle = (sides - largest) // 2
    boxes = tf.where(
        tf.reduce_any(fits, axis=1)[:, tf.newaxis],
        tf.concat([corner, drawn], axis=1),
        tf.concat([middle, largest], axis=0)[tf.newaxis],
    )
    return tf.cast(boxes, tf.int32)


def _scale(image: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Scales by [vertical, horizontal], shifts, and cuts out uint8 [SIDE, SIDE, 3]."""
    scaled = tf.raw_ops.ScaleAndTranslate(
        images=tf.cast(image, tf.float32)[tf.newaxis],
        size=[SIDE, SIDE],
        scale=scale,
        translation=shift,
        kernel_type="triangle",
        antialias=True,
    )[0]
    scaled.set_shape([SIDE, SIDE, 3])
    return tf.saturate_cast(tf.round(scaled), tf.uint8)
