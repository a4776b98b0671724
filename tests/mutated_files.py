"""Seeded mutations of a whole file: bytes and texts, shards and archives from inside.

A mutation is a function of (content, random); `mutate` strings some together.
"""

import io
import re
import struct
import zipfile
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from avl_tf.records import framing

Random = np.random.Generator
Mutation = Callable[[bytes, Random], bytes]


def mutate(
    content: bytes, mutations: Sequence[Mutation], random: np.random.Generator
) -> bytes:
    """Applies one to three of some mutations, one after the other."""
    for _ in range(_one_of([1, 1, 2, 3], random)):
        content = _one_of(mutations, random)(content, random)
    return content


def _one_of(choices: Sequence, random: Random):
    return choices[random.integers(len(choices))]  # choice makes arrays of them


def _place(content: bytes, random: Random) -> int:
    """Any byte, or, half of the time, one near an end, where headers are."""
    n = max(1, len(content))
    near = int(random.integers(min(n, _one_of([64, 512], random))))
    places = [near, n - 1 - near, *random.integers(n, size=2)]
    return int(_one_of(places, random))


def flip(content: bytes, random: Random) -> bytes:
    """Flips a bit each of up to 32 bytes, together or anywhere."""
    changed = bytearray(content)
    start, together = _place(content, random), random.random() < 0.5
    for step in range(_one_of([1, 1, 4, 32], random)):
        at = start + step if together else _place(content, random)
        if at < len(changed):
            changed[at] ^= 1 << int(random.integers(8))
    return bytes(changed)


def noise(content: bytes, random: Random) -> bytes:
    """Writes random bytes over up to 64."""
    at, n = _place(content, random), _one_of([1, 4, 64], random)
    return content[:at] + random.bytes(n) + content[at + n :]


def cut(content: bytes, random: Random) -> bytes:
    """Cuts off the end, or takes a piece out."""
    at = _place(content, random)
    behind = _one_of([len(content), at + int(random.integers(1, 64))], random)
    return content[:at] + content[behind:]


def double(content: bytes, random: Random) -> bytes:
    """Repeats a piece, or the whole file."""
    if random.random() < 0.1:
        return content + content
    at, n = _place(content, random), _one_of([1, 8, 200, 4000], random)
    times = int(random.integers(2, 5))
    return content[:at] + content[at : at + n] * times + content[at + n :]


def resize(content: bytes, random: Random) -> bytes:
    """Writes an extreme number where a size or a count may stand."""
    at, n_bits = _place(content, random), 8 * _one_of([1, 2, 4, 8], random)
    half, order = 1 << n_bits - 1, _one_of(["little", "big"], random)
    extremes = [0, 1, half - 1, half, 2 * half - 1, int(random.integers(half))]
    written = _one_of(extremes, random).to_bytes(n_bits // 8, order)
    return content[:at] + written + content[at + len(written) :]


BYTES = (flip, noise, cut, double, resize, resize)

_NUMBERS = [
    *("0", "-1", "1", "0.5", "-0.0", "1e-320", "1e308", "-1e308", "1e999", "1e19"),
    *("NaN", "Infinity", "-Infinity", "9" * 25, "9" * 5000, "2147483648", "65537"),
    *("1000000000", "1" * 308, "true", "false", "null"),
]
_TEXTS = [
    *("", " ", "x" * 300, "x" * 100_000, "..", "../../etc/passwd", "a/b", "[1]*?{}"),
    *("\\ud800", "\\u0000", "\\u001b[31m", "\\u202e", "\\n", "\\ud83d\\ude00"),
    *("%s{}", "-1", "file:///", "s3:/x", "nosuch://x/y", "é", "true"),
]
_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null')


def value(content: bytes, random: Random) -> bytes:
    """Puts another value in the place of a number, a text, a name, true or null."""
    found = list(_VALUE.finditer(content))
    if not found:
        return content
    one, other = _one_of(found, random), _one_of(found, random).group()
    made = [f'"{_one_of(_TEXTS, random)}"'.encode(), other]
    if not content[one.end() : one.end() + 2].strip().startswith(b":"):  # no name
        made += [_one_of(_NUMBERS, random).encode() for _ in range(2)]
        made += [b"%d" % random.integers(20), b"%.2f" % random.uniform(0, 3)]
        made += [_nested(_one_of([0, 1, 1, 60, 5000, 100_000], random), random)]
    return content[: one.start()] + _one_of(made, random) + content[one.end() :]


def _nested(depth: int, random: Random) -> bytes:
    both = b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth
    return _one_of(both, random)


def mark(content: bytes, random: Random) -> bytes:
    """Takes a quote, a comma or a bracket out, or puts one in."""
    at, sign = _place(content, random), _one_of('"{}[],:\\\n', random).encode()
    found = content.find(sign, at)
    if found >= 0 and random.random() < 0.5:
        return content[:found] + content[found + 1 :]
    return content[:at] + sign + content[at:]


def line(content: bytes, random: Random) -> bytes:
    """Takes a line out or repeats it, many times perhaps."""
    lines = content.splitlines(keepends=True) or [b""]
    at = int(random.integers(len(lines)))
    lines[at : at + 1] = lines[at : at + 1] * _one_of([0, 2, 2, 300], random)
    return b"".join(lines)


TEXT = (*[value] * 12, mark, line, flip, noise, cut, double)


def inside_shard(content: bytes, random: Random) -> bytes:
    """Changes a record, which keeps a frame of the right length and checksums."""
    records, at = [], 0
    while content[at + 8 : at + 12] == framing.checksum(content[at : at + 8]):
        (n_bytes,) = struct.unpack("<Q", content[at : at + 8])
        records.append(content[at + 12 : at + 12 + n_bytes])
        at += n_bytes + 16
    if records:
        index = int(random.integers(len(records)))
        change = _one_of([*BYTES, *[_field] * 6], random)
        records[index] = change(records[index], random)
    framed = [_framed(struct.pack("<Q", len(one))) + _framed(one) for one in records]
    return b"".join(framed) + content[at:]


def _framed(piece: bytes) -> bytes:
    return piece + framing.checksum(piece)


def _field(content: bytes, random: Random) -> bytes:
    """Changes one field of a record."""
    try:
        example = tf.train.Example.FromString(content)
    except Exception:  # what an earlier mutation has left
        return content
    names = sorted(example.features.feature)
    if not names:
        return content
    feature = example.features.feature[_one_of(names, random)]
    floats = feature.float_list.value
    if len(floats):
        extremes = [np.nan, np.inf, -np.inf, -1, 0, 1e-40, 1e9, 3e38]
        floats[int(random.integers(len(floats)))] = _one_of(extremes, random)
        if random.random() < 0.2:
            floats.extend([0.0] * _one_of([1, 1000], random))
    elif len(feature.bytes_list.value):
        old = feature.bytes_list.value[0]
        texts = [b"", b"\xff", b"\x00", b"\x1b[31m", b"x" * 100_000, old[:-2], old * 2]
        texts += [_one_of(BYTES, random)(old, random)] * 3
        texts += [np.float16([np.nan, np.inf]).tobytes() * (len(old) // 4)]
        feature.bytes_list.value[0] = _one_of(texts, random)
    if random.random() < 0.1:
        feature.Clear()
    return example.SerializeToString(deterministic=True)


def inside_zip(content: bytes, random: Random) -> bytes:
    """Changes an entry of an archive, which gets the right checksum."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # a file of the other format, or what a mutation has left
        return _one_of(BYTES, random)(content, random)
    index = _one_of([0, int(random.integers(len(entries)))], random)  # the pickle first
    name, old = entries[index]
    entries[index] = name, _one_of(BYTES, random)(old, random)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, entry in entries:
            archive.writestr(zipfile.ZipInfo(name), entry)
    return out.getvalue()
