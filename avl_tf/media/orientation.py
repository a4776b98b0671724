"""How a JPEG is to be turned and mirrored, as its EXIF says."""

import os
import struct

_TAG = 0x0112
_LONGEST = 1 << 17  # bytes from the start in which it stands


def orientation(path: str | os.PathLike) -> int:
    """Reads the EXIF orientation of an image file.

    Returns:
        1 (upright) to 8; 1 if it is no JPEG or says nothing.
    """
    with open(path, "rb") as file:
        content = file.read(_LONGEST)
    if content[:2] != b"\xff\xd8":
        return 1
    at = 2
    try:
        while content[at] == 0xFF:
            marker, length = struct.unpack_from(">BH", content, at + 1)
            if marker == 0xE1 and content[at + 4 : at + 10] == b"Exif\0\0":
                return _of_tiff(content[at + 10 : at + 2 + length])
            at += 2 + length
    except (struct.error, IndexError):  # damaged, or beyond what was read
        pass
    return 1


def _of_tiff(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (n_entries,) = struct.unpack_from(f"{order}H", tiff, first)
    for entry in range(n_entries):
        tag, _, _, value = struct.unpack_from(
            f"{order}HHIH", tiff, first + 2 + 12 * entry
        )
        if tag == _TAG and value in range(1, 9):
            return value
    return 1
