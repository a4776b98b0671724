"""Packets of H.264 and HEVC in, what their pictures refer to out."""

from typing import NamedTuple

import av
from av.codec import CodecContext


class _Units(NamedTuple):
    """How to find the type of a picture among a codec's NAL units.

    A type is header >> shift & mask; those of pictures, and those that nothing refers
    across; the byte of the extradata that tells the size of a unit's length.
    """

    shift: int
    mask: int
    pictures: range
    begins: tuple[int, ...]
    size_at: int

    def type_of(self, header: int) -> int:
        return header >> self.shift & self.mask


# Source: ITU-T H.264 table 7-1, H.265 table 7-1, ISO/IEC 14496-15.
CODECS = {
    "h264": _Units(0, 0x1F, range(1, 6), (5,), 4),
    "hevc": _Units(1, 0x3F, range(32), (19, 20), 21),
}


def begins(packet: av.Packet, context: CodecContext) -> bool:
    """Tells whether nothing from a packet on refers to what was before it.

    Its frame comes first, or those that are shown before it need none but it.
    """
    codec, header = CODECS[context.name], _header(packet, context)
    return header is not None and codec.type_of(header) in codec.begins


def is_referred_to(packet: av.Packet, context: CodecContext) -> bool:
    """Tells whether another frame of H.264 may refer to a packet's (nal_ref_idc)."""
    header = _header(packet, context)
    return header is None or header >> 5 & 3 != 0


def _header(packet: av.Packet, context: CodecContext) -> int | None:
    """The first byte of a packet's first picture; None if none is found."""
    codec, extradata = CODECS[context.name], context.extradata
    content, at, size = bytes(packet), 0, 0
    if extradata and extradata[0] == 1 and len(extradata) > codec.size_at:
        size = (extradata[codec.size_at] & 3) + 1
    while True:
        # Units follow their length or, in streams, three bytes.
        begin = at + size if size else content.find(b"\0\0\1", at) + 3
        if begin >= len(content) or (not size and begin < 3):
            return None
        if codec.type_of(content[begin]) in codec.pictures:
            return content[begin]
        at = begin + int.from_bytes(content[at:begin], "big") if size else begin
