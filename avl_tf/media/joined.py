"""MP3 and AAC files that were joined: where their tags lie, how long their frames are.

Files without a container are joined by writing one behind the other. The headers and
tags of the later ones are then in the middle, and no time in the file is to be trusted:
FFmpeg gives every frame the length that one has at the first file's rate.
"""

import os
from fractions import Fraction

import av

_RATES = (44_100, 48_000, 32_000)
_AAC_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000),
    *(24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350),
)
_FIRST_BYTES = 4096


class Tags:
    """Follows the packets of such a file, and tells which belong to no sound."""

    def __init__(self) -> None:
        self._end = 0

    def has(self, packet: av.Packet) -> bool:
        """Tells whether a packet begins in a tag."""
        if packet.pos is None:
            return False
        content, begin = bytes(packet), packet.pos
        self._end = max(self._end, begin)
        while size := tag_size(content[self._end - begin :]):
            self._end += size
        return begin < self._end


def tag_size(content: bytes) -> int:
    """How long the tag is that bytes begin with (ID3, APE); 0 if they begin with none.

    Source: id3.org, ID3v2.4.0 section 3.1; APEv2's header, 32 bytes.
    """
    if content[:3] == b"ID3" and len(content) >= 10:
        size = 0
        for byte in content[6:10]:
            size = size << 7 | byte & 127
        return size + (20 if content[5] & 16 else 10)
    if content[:3] == b"TAG":
        return 128
    if content[:8] == b"APETAGEX" and len(content) >= 16:
        return 32 + int.from_bytes(content[12:16], "little")
    return 0


def frame_s(content: bytes) -> Fraction:
    """How many seconds a frame lasts, by its own header; 0 if it has none.

    Source: ISO/IEC 11172-3 section 2.4.1.3, 13818-3, and 13818-7 section 6.2 (ADTS).
    """
    if len(content) < 7 or content[0] != 0xFF or content[1] & 0xE0 != 0xE0:
        return Fraction(0)
    version, layer = content[1] >> 3 & 3, content[1] >> 1 & 3
    if content[1] & 0xF6 == 0xF0:
        index = content[2] >> 2 & 15
        n_samples = 1024 * (1 + (content[6] & 3))
        known = index < len(_AAC_RATES)
        return Fraction(n_samples, _AAC_RATES[index]) if known else Fraction(0)
    index = content[2] >> 2 & 3
    if version == 1 or not layer or index == 3:
        return Fraction(0)
    n_samples = 384 if layer == 3 else 576 if layer == 1 and version != 3 else 1152
    return Fraction(n_samples, _RATES[index] >> {3: 0, 2: 1, 0: 2}[version])


def is_joined(path: str) -> bool:
    """Tells whether an MP3 file goes on where its header (Xing, VBRI) says it ends."""
    with open(path, "rb") as file:
        begin = _behind_tags(file, 0)
        file.seek(begin)
        first = file.read(_FIRST_BYTES)
        length = _length_in_header(first)
        if not length:
            return False
        file.seek(_behind_tags(file, begin + length))
        return frame_s(file.read(7)) > 0


def _behind_tags(file, position: int) -> int:
    """Where the first byte from a position on is that belongs to no tag."""
    end = os.fstat(file.fileno()).st_size
    while position < end:
        file.seek(position)
        size = tag_size(file.read(16))
        if not size:
            break
        position += size
    return position


def _length_in_header(first: bytes) -> int:
    """How many bytes the header in the first frame counts; 0 if it tells nothing."""
    frame = first[:200]
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if at > 0:
            flags = int.from_bytes(first[at + 4 : at + 8], "big")
            at += 8 + 4 * (flags & 1)
            return int.from_bytes(first[at : at + 4], "big") if flags & 2 else 0
    at = frame.find(b"VBRI")
    return int.from_bytes(first[at + 10 : at + 14], "big") if at > 0 else 0
