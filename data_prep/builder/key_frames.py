"""One small picture of every clip: a video and times come in, JPEG files go out."""

import dataclasses

from avl_tf import media
from avl_tf.media import DEFAULT_LIMITS, Limits

_SHORT_SIDE = 180
# Around the time that is asked for, of which the last frame may fall short.
_SPAN_S = 1.0


@dataclasses.dataclass(frozen=True)
class KeyFramesTask:
    """A video, and (time in seconds, JPEG file to write) of each of its clips."""

    path: str
    pictures: tuple[tuple[float, str], ...]
    limits: Limits = DEFAULT_LIMITS


def write_key_frames(task: KeyFramesTask) -> None:
    """Writes the pictures that can be decoded; a clip can be judged without one."""
    for time_s, path in task.pictures:
        try:
            frames = media.iter_frames(
                task.path,
                1 / _SPAN_S,
                _SHORT_SIDE,
                start_s=time_s,
                limits=task.limits,
            )
            frame = next(frames, None)
        except (media.MediaError, OSError):
            continue
        if frame is not None:
            media.write_image(path, frame)
