"""Small playable cuts and key frames of media, beside a page that shows them.

A file of a name that is there is taken as it is: a page may name a moment twice.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from avl_tf import media, offspring, progress
from avl_tf.errors import UserError
from avl_tf.media import View, Wanted
from avl_tf.media.tracks import ANY

_SIDE = 240
_FPS = 12.5
_RATE_HZ = 16000
_SHORTEST_S = 0.1


def excerpt(
    path: str | os.PathLike,
    start_s: float,
    end_s: float,
    folder: str,
    name: str,
    wanted: Wanted = ANY,
) -> str:
    """Cuts out a span as a file that a browser plays, with the sound and the picture.

    Args:
        path: a video, an audio file, or an image, which has nothing to play.
        start_s, end_s: in the file; what lies before its beginning or behind its end
            is left out.
        folder: of the page.
        name: what the cut is called; any text, others for other cuts.
        wanted: which sound.

    Returns:
        "media/NAME.mp4", of sound alone "media/NAME.m4a": its way from the page; "" of
        an image.

    Raises:
        UserError: there is no such file.
        MediaError: it cannot be decoded, or has nothing in the span.
    """
    path = found(path)
    start_s, end_s = max(0.0, start_s), max(end_s, start_s + _SHORTEST_S)
    if media.is_image(path):
        return ""
    seen = media.has_pictures(path)
    out = f"media/{file_name(name)}.{'mp4' if seen else 'm4a'}"
    target = os.path.join(folder, out)
    if os.path.exists(target):
        return out
    waveform = np.zeros(0, np.float32)
    if media.has_sound(path):
        waveform = media.read_waveform(
            path, _RATE_HZ, start_s, end_s, True, wanted.language, wanted.audio_track
        )
    if not seen:
        if not len(waveform):
            raise media.MediaError(f"{path}: no sound from {start_s:g} s on.")
        media.write_sound(target, waveform, _RATE_HZ)
        return out
    views = [View(_FPS, _SIDE)]
    parts = media.decode(path, None, views, start_s, end_s, allow_truncated=True)
    frames = (_even(frame) for _, frame in parts if frame is not None)
    try:
        media.write_video(target, frames, _FPS, waveform, _RATE_HZ)
    except UserError as error:
        raise media.MediaError(f"{path}: from {start_s:g} s on: {error}") from error
    return out


def key_frame(path: str | os.PathLike, at_s: float, folder: str, name: str) -> str:
    """Writes the picture of a moment, small; of an image the image.

    Args:
        path: a video, an image, or an audio file, which has no picture.
        at_s: in the file; behind the end of the pictures it is the last second's.
        folder: of the page.
        name: what the picture is called; any text, others for other pictures.

    Returns:
        "frames/NAME.jpg", its way from the page; "" of an audio file.

    Raises:
        UserError: there is no such file.
        MediaError: it cannot be decoded.
    """
    path = found(path)
    out = f"frames/{file_name(name)}.jpg"
    target = os.path.join(folder, out)
    if os.path.exists(target):
        return out
    image = picture(path, at_s, _SIDE)
    if image is None:
        return ""
    media.write_image(target, image)
    return out


def picture(path: str | os.PathLike, at_s: float, side: int) -> np.ndarray | None:
    """The picture of a moment, its shorter side no more than `side` pixels.

    Args:
        path: a file that is there.
        at_s: as of key_frame.
        side: pixels; the longer side has no more than four times that.

    Returns:
        uint8 [H, W, 3], or None of an audio file.

    Raises:
        MediaError: it cannot be decoded.
    """
    image: np.ndarray | None
    if media.is_image(path):
        image = media.read_on_white(path)
    elif media.has_pictures(path):
        found = _frame(path, max(0.0, at_s))
        if found is None:
            found = _frame(path, max(0.0, media.duration_s(path) - 1))
        image = _frame(path, 0.0) if found is None else found
        if image is None:
            raise media.MediaError(f"{path}: no picture in it.")
    else:
        return None
    height, width = image.shape[:2]
    scale = min(1.0, side / min(height, width), 4 * side / max(height, width))
    return media.resize(
        image, max(1, round(height * scale)), max(1, round(width * scale))
    )


def file_name(name: str) -> str:
    """A name as a file has it, the same on every system and in every address."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:40].strip("_") + "-" + digest


def at_once(tasks: Iterable[Callable[[], str]], what: str) -> list[str]:
    """Does excerpts and key frames, a few at a time; their results in order.

    Args:
        tasks: as functools.partial(excerpt, ...); none for a name that another has.
        what: a word for the progress bar.

    Raises:
        UserError, MediaError: that of the first that fails.
    """
    listed = list(tasks)
    with ThreadPoolExecutor(offspring.n_cores()) as pool:
        # FFmpeg works without Python's lock.
        futures = [pool.submit(task) for task in listed]
        try:
            return [future.result() for future in progress.Bar(futures, what)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _frame(path: str | os.PathLike, start_s: float) -> np.ndarray | None:
    frames = media.iter_frames(path, 1, start_s=start_s, allow_truncated=True)
    return next(frames, None)


def found(path: str | os.PathLike) -> str:
    """The path of a media file; UserError if there is none."""
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(
            f"{path}: no such media file. Pages are made of the media: put it where "
            "the manifest says."
        )
    return path


def _even(frame: np.ndarray) -> np.ndarray:
    """A frame as H.264 takes it, without the last pixel of an odd side."""
    height, width = (side - side % 2 for side in frame.shape[:2])
    return frame[:height, :width]
