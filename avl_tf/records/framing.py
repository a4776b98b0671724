"""The bytes of a shard: a record's frame, what stands at its beginning, its arrays."""

import struct
from collections.abc import Mapping

import tensorflow as tf
from google.protobuf.message import DecodeError

from avl_tf import files

Buffer = bytes | memoryview
BEFORE, FRAME_BYTES = 12, 16  # of a record
_HEADER_BYTES = 4096  # enough for what encode puts before the arrays, as a rule


def open_shard(path: str):
    """Opens a shard for reading a few bytes here and there."""
    # TensorFlow's own reader fetches half a megabyte for a few bytes.
    if files.is_remote(path):
        return tf.io.gfile.GFile(path, "rb")
    return open(files.local_path(path), "rb", buffering=0)


def read_header(stream, n_bytes: int):
    """The features that stand before the arrays of the record where a stream is."""
    read = stream.read(min(n_bytes, _HEADER_BYTES))
    first, behind = first_field(read)
    if behind > len(read):
        read += stream.read(min(behind, n_bytes) - len(read))
    return tf.train.Features.FromString(read[first:behind]).feature


def first_field(message: bytes) -> tuple[int, int]:
    """Where the content of a protocol buffer's first field begins and ends."""
    if message[:1] != b"\x0a":  # field 1, with a length
        raise DecodeError("another field")
    n_bytes, at = 0, 1
    while True:  # seven bits a byte, the last one below 128
        n_bytes |= (message[at] & 127) << 7 * (at - 1)
        at += 1
        if message[at - 1] < 128:
            return at, at + n_bytes


def arrays_message(arrays: Mapping[str, Buffer]) -> list[Buffer]:
    """The tf.train.Example of some bytes, by name, in parts to be joined.

    As SerializeToString(deterministic=True) makes it, which holds several copies.
    """
    entries = []
    for name, content in sorted(arrays.items()):
        feature = _field(1, _field(1, [content]))  # its bytes_list, and that's value
        entries += _field(1, [*_field(1, [name.encode()]), *_field(2, feature)])
    return _field(1, entries)


def _field(number: int, parts: list[Buffer]) -> list[Buffer]:
    """A protocol buffer's field with a length, in parts."""
    n_bytes, head = sum(map(len, parts)), [number << 3 | 2]
    while n_bytes > 127:
        head.append(n_bytes & 127 | 128)
        n_bytes >>= 7
    return [bytes([*head, n_bytes]), *parts]


def checksum(content: bytes) -> bytes:
    """TFRecord's masked CRC-32C, byte by byte: for lengths only."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    masked = (crc >> 15 | crc << 17) + 0xA282EAD8
    return struct.pack("<I", masked & 0xFFFFFFFF)
