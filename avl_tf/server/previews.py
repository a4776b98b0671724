"""The key frame and the waveform of a moment: made when asked for, kept for a while."""

import asyncio
import collections
import contextlib
import os
import uuid
from typing import NamedTuple

from avl_tf.errors import MediaError
from avl_tf.server import decoding
from avl_tf.server.refusals import Refusal
from avl_tf.server.waiting import Line

_Key = tuple[str, float, float]
_KEPT = 500
_WALL_S = 20.0


class Preview(NamedTuple):
    """A picture's file, None if there is none to see; and peaks of the sound, or ()."""

    picture: str | None
    peaks: tuple[float, ...]


class Previews:
    """Previews by file and span, the latest of which are kept in a folder."""

    def __init__(self, folder: str, line: Line):
        """Takes an empty folder of its own, and who decodes."""
        self._folder, self._line = folder, line
        self._kept: collections.OrderedDict[_Key, asyncio.Future[Preview]] = (
            collections.OrderedDict()
        )

    async def get(self, path: str, start_s: float, end_s: float) -> Preview:
        """The preview of a span of a media file that is there.

        Raises:
            Refusal: the file cannot be read, or too much is asked for at once.
        """
        key = path, start_s, end_s
        made = self._kept.get(key)
        if made is None:
            made = self._kept[key] = asyncio.ensure_future(self._make(*key))
            made.add_done_callback(lambda done: self._forget_failed(key, done))
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            _, oldest = self._kept.popitem(last=False)
            _remove(oldest)
        # Others may wait for it: it is not stopped with the one who asked first.
        return await asyncio.shield(made)

    async def _make(self, path: str, start_s: float, end_s: float) -> Preview:
        out = os.path.join(self._folder, f"{uuid.uuid4().hex}.jpg")
        job = decoding.Job(path, out, "preview", start_s=start_s, end_s=end_s)
        with self._line.place():
            try:
                found = await self._line.do(decoding.run, job, _WALL_S)
            except MediaError as error:
                raise Refusal(404, f"no preview: {error}") from error
        return Preview(out if found.has_picture else None, found.peaks)

    def _forget_failed(self, key: _Key, done: "asyncio.Future[Preview]") -> None:
        if done.cancelled() or done.exception():
            self._kept.pop(key, None)


def _remove(made: "asyncio.Future[Preview]") -> None:
    if made.done() and not made.cancelled() and not made.exception():
        if picture := made.result().picture:
            with contextlib.suppress(FileNotFoundError):
                os.remove(picture)
