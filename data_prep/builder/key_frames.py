"""One small picture of every clip: a video and times come in, JPEG files go out."""

import dataclasses
import os
from fractions import Fraction

import av
import numpy as np

from avl_tf import media
from avl_tf.media.writer import to_frame

_SHORT_SIDE = 180
_QUANTISER = 5
# Around the time that is asked for, of which the last frame may fall short.
_SPAN_S = 1.0


@dataclasses.dataclass(frozen=True)
class KeyFramesTask:
    """A video, and (time in seconds, JPEG file to write) of each of its clips."""

    path: str
    pictures: tuple[tuple[float, str], ...]


def write_key_frames(task: KeyFramesTask) -> None:
    """Writes the pictures that can be decoded; a clip can be judged without one."""
    for time_s, path in task.pictures:
        try:
            frames = media.iter_frames(
                task.path, 1 / _SPAN_S, _SHORT_SIDE, start_s=time_s
            )
            frame = next(frames, None)
        except (media.MediaError, OSError):
            continue
        if frame is not None:
            _write(path, _to_jpeg(frame))


def _to_jpeg(image: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 3]."""
    frame = to_frame(image).reformat(format="yuvj420p")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt, encoder.time_base = frame.format.name, Fraction(1)
    encoder.qmin = encoder.qmax = _QUANTISER
    return b"".join(bytes(p) for p in encoder.encode(frame) + encoder.encode())


def _write(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.tmp-{os.getpid()}"
    with open(temporary, "wb") as out:
        out.write(content)
    os.replace(temporary, path)
