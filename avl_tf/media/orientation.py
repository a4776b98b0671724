"""How a decoded picture is to be turned and mirrored, as its file says.

What EXIF says of an image (JPEG, PNG, WebP, TIFF), the boxes of an AVIF, the track of
an MP4, MOV or Matroska and a message in H.264 or HEVC: FFmpeg makes of it one matrix,
the display matrix of a frame. Of that PyAV tells the angle, for a mirror image only
half of what is to be done.
"""

import struct
import threading
from fractions import Fraction
from typing import Any

import av
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

# EXIF's numbers by quarter turns against the clock; of mirror images those after a
# mirroring top to bottom.
_UPRIGHT, _MIRRORED = (1, 8, 3, 6), (4, 7, 2, 5)
# FFmpeg's kinds of side data go from 0 to 30 odd.
_MATRIX: Any = Type.DISPLAYMATRIX.value
_OTHER_KINDS = [kind for kind in range(48) if kind != _MATRIX]
_SIDE = 8
_PIXELS = "rgb24"
_of_thread = threading.local()


def mirror_and_turns(frame: VideoFrame) -> tuple[bool, int]:
    """Tells how a frame becomes upright.

    Returns:
        Whether it is to be mirrored top to bottom, and by how many quarter turns, 0 to
        3, it is to be turned against the clock after that.
    """
    small = frame.reformat(_SIDE, _SIDE, _PIXELS, interpolation="POINT", threads=1)
    graph = _filters()
    graph.push(small)
    matrix: Any = graph.pull().side_data.get(Type.DISPLAYMATRIX.name)
    if matrix is None:
        return False, 0
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(matrix))
    # A matrix that leaves nothing of the picture has no angle.
    turns = round(frame.rotation / 90) % 4 if (a or c) and (b or d) else 0
    return a * d < b * c, turns


def exif_number(frame: VideoFrame) -> int:
    """The orientation of a frame as EXIF numbers them: 1 (upright) to 8."""
    mirrored, turns = mirror_and_turns(frame)
    return (_MIRRORED if mirrored else _UPRIGHT)[turns]


def _filters() -> av.filter.Graph:
    """Leaves nothing but the display matrix of a frame's side data.

    PyAV 18.1 stumbles over kinds that it does not know (EXIF), and frees the name of a
    colour profile that FFmpeg frees too.
    """
    graph = getattr(_of_thread, "graph", None)
    if graph is None:
        graph = av.filter.Graph()
        filters = [
            graph.add_buffer(
                width=_SIDE,
                height=_SIDE,
                format=av.VideoFormat(_PIXELS),
                time_base=Fraction(1),
            ),
            *(graph.add("sidedata", f"delete:type={kind}") for kind in _OTHER_KINDS),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*filters).configure()
        _of_thread.graph = graph
    return graph
