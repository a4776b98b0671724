"""The image reader of the export: what it tells instead of decoding it."""

import functools
import resource
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from avl_tf import images
from avl_tf.serving import image_files


@functools.cache
def _graph():
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(image_files.decode, input_signature=signature)


def _decode(content):
    (crop,), (reason,) = _graph()(tf.stack([content]))
    return crop.numpy(), reason.numpy().decode()


def _noise(height=60, width=80):
    random = np.random.default_rng(4)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _png(width, height, data=b""):
    def chunk(name, body):
        crc = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _jpeg(width, height):
    """A small JPEG whose header claims another size."""
    content = bytearray(tf.io.encode_jpeg(_noise()).numpy())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("encode", [tf.io.encode_jpeg, tf.io.encode_png])
@pytest.mark.parametrize("size", [(60, 80), (1, 1), (300, 2)])
def test_an_image_is_cut_as_in_evaluation(encode, size):
    content = encode(_noise(*size))
    crop, reason = _decode(content)
    assert reason == ""
    expected = images.centre_crop(images.decode(content))
    assert np.array_equal(crop, expected) and expected.numpy().any()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not a JPEG or PNG file: convert it by ffmpeg -i FILE NEW.png"),
        (
            b"GIF89a and so on, for long enough",
            "not a JPEG or PNG file: convert it by ffmpeg -i FILE NEW.png",
        ),
        (
            b"\x89PNG\r\n\x1a\n",
            "not a JPEG or PNG file: convert it by ffmpeg -i FILE NEW.png",
        ),
        (
            b"RIFF....WEBPVP8 ........",
            "not a JPEG or PNG file: convert it by ffmpeg -i FILE NEW.png",
        ),
        (_png(16000, 16000, zlib.compress(bytes(10**6))), "256000000 pixels"),
        (_png(2**31 - 1, 2**31 - 1), "pixels, at most 89478485"),
        (_png(2**32 - 1, 2**32 - 1), "pixels, at most 89478485"),
        (_png(89_478_486, 1), "89478486 pixels"),
        (_jpeg(65000, 65000), "4225000000 pixels"),
        (_jpeg(10_000, 9_000), "90000000 pixels"),
    ],
)
def test_what_is_not_decoded_is_told_and_needs_no_memory(content, reason):
    _decode(tf.io.encode_jpeg(_noise()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    crop, found = _decode(content)
    assert reason in found and not crop.any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50_000


def _spoilt(content, place):
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def test_a_damaged_file_costs_itself_alone():
    jpeg, png = (
        encode(_noise()).numpy() for encode in (tf.io.encode_jpeg, tf.io.encode_png)
    )
    damaged = [
        *(_png(30, 40), _png(0, 9), b"\xff\xd8\xff", b"\xff\xd8\xff\xe0" + bytes(40)),
        *(content[:end] for content in (jpeg, png) for end in (300, -2)),
        *(_spoilt(jpeg, jpeg.index(b"\xff\xc0") + 4), _spoilt(png, len(png) // 2)),
    ]
    crops, reasons = _graph()([jpeg, *damaged, png, b"", png])
    assert set(reasons.numpy()[1:-3]) == {b"damaged: it cannot be decoded"}
    others = reasons.numpy()[[0, -3, -2, -1]].tolist()
    assert others == [
        b"",
        b"",
        b"not a JPEG or PNG file: convert it by ffmpeg -i FILE NEW.png",
        b"",
    ]
    assert not crops.numpy()[1:-3].any()
    for crop, content in zip(crops.numpy()[[0, -3, -1]], (jpeg, png, png), strict=True):
        assert np.array_equal(crop, images.centre_crop(images.decode(content)))


@pytest.mark.parametrize("contents", [[], [b""], [b"\xff\xd8\xff"], [_png(0, 1)] * 3])
def test_nothing_that_can_be_decoded_is_no_error(contents):
    crops, reasons = _graph()(tf.constant(contents, tf.string))
    assert crops.shape == (len(contents), images.SIDE, images.SIDE, 3)
    assert all(reason for reason in reasons.numpy()) and not crops.numpy().any()
