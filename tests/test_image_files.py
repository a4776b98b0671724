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
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(image_files.decode, input_signature=signature)


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
    crop, reason = _graph()(content)
    assert reason.numpy() == b""
    expected = images.centre_crop(images.decode(content))
    assert np.array_equal(crop, expected) and expected.numpy().any()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not a JPEG or PNG file"),
        (b"GIF89a and so on, for long enough", "not a JPEG or PNG file"),
        (b"\x89PNG\r\n\x1a\n", "not a JPEG or PNG file"),
        (b"RIFF....WEBPVP8 ........", "not a JPEG or PNG file"),
        (_png(16000, 16000, zlib.compress(bytes(10**6))), "256000000 pixels"),
        (_png(2**31 - 1, 2**31 - 1), "pixels, at most 89478485"),
        (_png(2**32 - 1, 2**32 - 1), "pixels, at most 89478485"),
        (_png(89_478_486, 1), "89478486 pixels"),
        (_jpeg(65000, 65000), "4225000000 pixels"),
        (_jpeg(10_000, 9_000), "90000000 pixels"),
    ],
)
def test_what_is_not_decoded_is_told_and_needs_no_memory(content, reason):
    _graph()(tf.io.encode_jpeg(_noise()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    crop, found = _graph()(tf.constant(content))
    assert reason in found.numpy().decode() and not crop.numpy().any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50_000


@pytest.mark.parametrize("content", [_png(30, 40), _png(0, 9), _jpeg(60, 80)[:300]])
def test_a_damaged_file_is_an_error(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        _graph()(tf.constant(content))
