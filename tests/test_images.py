import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from avl_tf import images

SIZES = [(256, 256), (341, 256), (256, 400), (90, 300), (1000, 640), (7, 5), (1, 600)]


def _picture(width, height, seed=0):
    """A photograph-like picture: smooth, with some noise."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), 3), np.int16)
    noisy = smooth + random.integers(-20, 21, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _jpeg(image, **settings):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "jpeg", quality=90, **settings)
    return out.getvalue()


def _near(found, expected):
    difference = np.abs(np.asarray(found, int) - np.asarray(expected, int))
    return difference.max() <= 2 and difference.mean() < 0.3


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_is_decoded_as_pillow_does(settings):
    content = _jpeg(_picture(61, 45), **settings)
    expected = np.asarray(Image.open(io.BytesIO(content)))
    assert np.array_equal(images.decode_jpeg(content), expected)
    assert np.array_equal(images.decode(tf.constant(content)), expected)


def test_grey_and_cmyk_jpegs_and_png_are_decoded():
    picture = Image.fromarray(_picture(61, 45))
    for mode, kind in (("L", "jpeg"), ("CMYK", "jpeg"), ("RGBA", "png"), ("L", "png")):
        out = io.BytesIO()
        picture.convert(mode).save(out, kind)
        expected = np.asarray(Image.open(out).convert("RGB"))
        assert np.array_equal(images.decode(tf.constant(out.getvalue())), expected)


def _torchvisions_centre_crop(image):
    """Resize(256) and CenterCrop(224), as torchvision reckons, with Pillow."""
    width, height = image.size
    if width <= height:
        image = image.resize((256, int(256 * height / width)), Image.BILINEAR)
    else:
        image = image.resize((int(256 * width / height), 256), Image.BILINEAR)
    left = int(round((image.width - 224) / 2.0))
    top = int(round((image.height - 224) / 2.0))
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


@pytest.mark.parametrize("size", SIZES)
def test_the_crop_of_evaluation_is_torchvisions(size):
    picture = _picture(*size)
    found = images.centre_crop(picture)
    assert found.dtype == tf.uint8 and found.shape == (224, 224, 3)
    assert _near(found, _torchvisions_centre_crop(Image.fromarray(picture)))


@pytest.mark.parametrize("size", SIZES)
def test_the_crops_of_training_are_pillows(size):
    picture, seed = _picture(*size), tf.constant([3, 4], tf.int64)
    boxes = images.random_boxes(tf.constant(picture.shape[:2]), 5, seed)
    found = images.random_crops(picture, 5, seed)
    for box, crop in zip(boxes.numpy(), found, strict=True):
        top, left, height, width = (int(edge) for edge in box)
        part = Image.fromarray(picture).crop((left, top, left + width, top + height))
        assert _near(crop, part.resize((224, 224), Image.BILINEAR))


def _torchvisions_box(height, width, random):
    """RandomResizedCrop.get_params, written anew from its documentation."""
    for _ in range(10):
        area = height * width * random.uniform(0.08, 1.0)
        ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = int(round(np.sqrt(area * ratio))), int(round(np.sqrt(area / ratio)))
        if 0 < w <= width and 0 < h <= height:
            top, left = random.integers(height - h + 1), random.integers(width - w + 1)
            return top, left, h, w
    if width / height < 3 / 4:
        h, w = int(round(width / (3 / 4))), width
    elif width / height > 4 / 3:
        h, w = height, int(round(height * (4 / 3)))
    else:
        h, w = height, width
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("size", [(256, 256), (256, 341), (300, 90), (40, 1000)])
def test_boxes_are_drawn_as_torchvision_draws_them(size):
    """Means, spreads and quantiles of 4000 draws; long images take their middle."""
    seed = tf.constant([1, 2], tf.int64)
    found = images.random_boxes(tf.constant(size), 4000, seed).numpy()
    random = np.random.default_rng(0)
    expected = np.array([_torchvisions_box(*size, random) for _ in range(4000)])
    assert (found[:, :2] >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= size).all() and (found[:, 2:] > 0).all()
    scale = np.array([*size, *size])
    for statistic in (np.mean, np.std):
        difference = (statistic(found, 0) - statistic(expected, 0)) / scale
        assert np.abs(difference).max() < 0.025, statistic
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        difference = np.quantile(found, q, 0) - np.quantile(expected, q, 0)
        assert np.abs(difference / scale).max() < 0.05, q


def test_a_strip_falls_back_to_its_middle():
    found = images.random_boxes(
        tf.constant([10, 1000]), 3, tf.constant([1, 2], tf.int64)
    )
    assert found.numpy().tolist() == [[0, 493, 10, 13]] * 3
    assert _torchvisions_box(10, 1000, np.random.default_rng(0)) == (0, 493, 10, 13)


def test_crops_are_a_function_of_the_seed():
    picture = _picture(64, 64)
    one, again, other = (
        images.random_crops(picture, 2, tf.constant([0, s], tf.int64)).numpy()
        for s in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_an_image_that_claims_too_many_pixels_is_refused(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (9, 99, 200)).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    decode = tf.function(images.decode, input_signature=[tf.TensorSpec([], tf.string)])
    assert decode(bytes(content)).shape == (30, 40, 3)
    if kind == "PNG":
        struct.pack_into(">II", content, 16, 16_000, 16_000)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        struct.pack_into(">HH", content, at, 16_000, 16_000)
    else:
        struct.pack_into("<HH", content, 6, 16_000, 16_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="100 million pixels"):
        decode(bytes(content))
    for broken in (b"", b"\x89PNG", b"\xff\xd8\xff", b"GIF89a"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(broken)
