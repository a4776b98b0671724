"""An index directory as it is read: by many processes, while one writes.

Windows have ids, int64, that grow and are never used again; those of a segment follow
one another. No TensorFlow here.
"""

import functools
import os
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from avl_tf import json_text
from avl_tf.errors import UserError
from avl_tf.retrieval import segments
from avl_tf.retrieval.database import (
    GONE,
    REMOVED,
    Database,
    mended_by,
    require_local,
)
from avl_tf.retrieval.entries import (
    SIDES,
    Medium,
    ModelNote,
    Segment,
    Source,
    Window,
)

Ids = Sequence[int] | np.ndarray
Steps = tuple[np.ndarray, np.ndarray]
_ASKED_AT_ONCE = 500
_MEDIA_COLUMNS = (
    "id, media, record_id, recording_id, language, digest, origin, size, mtime_ns, "
    "content, duration_s, n_windows, failure, state"
)


class _Seen(NamedTuple):
    """What was last read: dead are the ids of windows that are not there any more."""

    generation: int
    segments: tuple[Segment, ...]
    dead: np.ndarray


class Store:
    """An index directory, opened for reading; any thread may use it.

    What another process commits is seen at the next call: `generation` tells of it.

    Attributes:
        folder: the index directory.
    """

    def __init__(self, folder: str, writes: bool = False):
        """Takes an index directory; see open."""
        self.folder = os.path.abspath(folder)
        self._mended_by = mended_by(folder)
        self._database = Database(self.folder, writes, self._mended_by)
        self._last = _Seen(-1, (), np.zeros(0, np.int64))
        self._mapped = functools.lru_cache(None)(self._map)

    @classmethod
    def open(cls, index_dir: str) -> "Store":
        """Opens an index for reading; of 1M windows in a fraction of a second.

        Raises:
            FileNotFoundError: there is none.
            UserError: it is damaged, of another version, or the path is a URL.
        """
        require_local(index_dir)
        return cls(index_dir)

    def close(self) -> None:
        """Closes the database; arrays that were handed out stay."""
        self._database.close()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.close()

    @property
    def model(self) -> ModelNote:
        """The model that it was made with; UserError if nothing was written yet."""
        value = self.note("model")
        if not isinstance(value, dict):
            raise UserError(
                f"{self.folder}: an index in which nothing is yet. Run `python -m "
                f"avl_tf.index --index_dir={shlex.quote(self.folder)} --model=MODEL "
                "--videos=DIR`."
            )
        return ModelNote(**{**value, "languages": tuple(value["languages"])})

    @property
    def generation(self) -> int:
        """Grows with every commit."""
        where = "SELECT value FROM state WHERE name = 'generation'"
        return self._database.one(where)[0]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, by their first windows."""
        return self._seen().segments

    @property
    def n_windows(self) -> int:
        """The windows that are alive."""
        seen = self._seen()
        return sum(one.n_windows for one in seen.segments) - len(seen.dead)

    def vectors(self, side: str, segment: Segment) -> np.ndarray:
        """The embeddings of a segment's windows, memory-mapped.

        Args:
            side: "visual" or "audio".
            segment: one of `segments`.

        Returns:
            float16 [n, D], read only; a row of NaN where nothing is heard (no sound, or
            no branch for its language) or seen (a file of sound alone).

        Raises:
            UserError: the file is gone or damaged.
        """
        if side not in SIDES:
            raise ValueError(f"side is one of {SIDES}, got '{side}'")
        return self._mapped(side, segment.number, segment.n_windows)

    def steps(self, window: int) -> Steps:
        """The visual steps within a window.

        Returns:
            float16 [K, D], their embeddings; float64 [K], the second of the media file
            at which each begins. K is 0 where nothing is seen.

        Raises:
            KeyError: there is no such window.
            UserError: the file is gone or damaged.
        """
        return self.steps_of([window])[0]

    def steps_of(self, window_ids: Ids) -> list[Steps]:
        """The visual steps of many windows, as steps gives them."""
        columns = "id, first_step, n_steps, step_start_s, step_s"
        # Of one moment: segments that become one have other rows.
        with self._database.snapshot():
            rows = self._by_id(f"SELECT {columns} FROM windows", "id", window_ids)
            own = [self.segment_of(window) for window, *_ in rows]
        found = []
        for segment, row in zip(own, rows, strict=True):
            _, first, n_steps, start_s, step_s = row
            every = self._mapped("steps", segment.number, segment.n_steps)
            times_s = start_s + step_s * np.arange(n_steps)
            found.append((every[first : first + n_steps], times_s))
        return found

    def segment_of(self, window: int) -> Segment:
        """The segment that a window lies in; KeyError if there is none."""
        found = self._seen().segments
        firsts = [one.first_window for one in found]
        index = int(np.searchsorted(firsts, window, side="right")) - 1
        if index < 0 or window >= firsts[index] + found[index].n_windows:
            raise KeyError(window)
        return found[index]

    def alive(self, window_ids: np.ndarray) -> np.ndarray:
        """Which ids [...] are those of windows that are there: bool [...]."""
        seen, ids = self._seen(), np.asarray(window_ids, np.int64)
        firsts = np.array([one.first_window for one in seen.segments], np.int64)
        behind = firsts + np.array([one.n_windows for one in seen.segments], np.int64)
        if not len(firsts):
            return np.zeros(ids.shape, bool)
        index = np.maximum(np.searchsorted(firsts, ids, side="right") - 1, 0)
        there = (ids >= firsts[index]) & (ids < behind[index])
        return there & ~np.isin(ids, seen.dead)

    def windows(self, window_ids: Ids) -> list[Window]:
        """The windows of some ids, in their order; KeyError for an id of none."""
        select = (
            "SELECT windows.id, media_id, recording_id, media, language, start_s, "
            "end_s, label, record_id FROM windows JOIN media ON media.id = media_id"
        )
        return [Window(*row) for row in self._by_id(select, "windows.id", window_ids)]

    def _by_id(self, select: str, column: str, window_ids: Ids) -> list[tuple]:
        """Rows of windows in the order of their ids; KeyError for an id of none."""
        ids, found = [int(one) for one in window_ids], {}
        wanted = sorted(set(ids))
        for begin in range(0, len(wanted), _ASKED_AT_ONCE):
            part = wanted[begin : begin + _ASKED_AT_ONCE]
            where = f"{select} WHERE {column} IN ({','.join('?' * len(part))})"
            found.update({row[0]: row for row in self._database.all(where, part)})
        return [found[one] for one in ids]

    def window_ids(self, media_id: int) -> list[int]:
        """The windows of a medium that are alive."""
        rows = self._database.all(
            "SELECT id FROM windows WHERE media_id = ? AND alive ORDER BY id",
            [media_id],
        )
        return [row[0] for row in rows]

    def media(self) -> list[Medium]:
        """All that was ever asked for and is not gone: indexed, failed, removed."""
        rows = self._database.all(
            f"SELECT {_MEDIA_COLUMNS} FROM media WHERE state < {GONE} ORDER BY id"
        )
        return [_medium(row) for row in rows]

    def medium(self, media_id: int) -> Medium:
        """One of media; KeyError if there is none of this id."""
        rows = self._database.all(
            f"SELECT {_MEDIA_COLUMNS} FROM media WHERE id = ? AND state < {GONE}",
            [int(media_id)],
        )
        if not rows:
            raise KeyError(media_id)
        return _medium(rows[0])

    def missing(self, media_id: int) -> str:
        """Why the file of a medium cannot be played now; "" if it can."""
        try:
            source = self.medium(media_id).source
        except KeyError:
            return "not in the index any more"
        if not source.media:
            return "the index was made of records, without their media"
        try:
            status = os.stat(source.media)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                return f"{source.media}: deleted or moved since it was indexed"
            return f"{source.media}: {error.strerror}"
        # By its time alone a copied file would be another.
        if source.size and status.st_size != source.size:
            return f"{source.media}: changed since it was indexed"
        return ""

    def note(self, name: str) -> Any:
        """A JSON value that was kept under a name; None if none was."""
        rows = self._database.all("SELECT value FROM notes WHERE name = ?", [name])
        if not rows:
            return None
        place = f"{self._database.path}: the note {name}"
        return json_text.load(rows[0][0], place)

    def require_files(self) -> None:
        """Looks at the files of all segments, without reading them; as vectors."""
        for one in self.segments:
            for side in SIDES:
                self.vectors(side, one)
            self._mapped("steps", one.number, one.n_steps)

    def check(self) -> None:
        """Reads everything; UserError if a file is damaged, and says which."""
        for (text,) in self._database.all("PRAGMA integrity_check"):
            if text != "ok":
                raise UserError(
                    f"{self._database.path}: damaged ({text}). {self._mended_by}"
                )
        rows = self._database.all("SELECT number, visual, audio, steps FROM segments")
        for number, *digests in rows:
            for kind, digest in zip(segments.KINDS, digests, strict=True):
                path = segments.path(self.folder, number, kind)
                segments.require(path, digest, self._mended_by)

    def _map(self, kind: str, number: int, n_rows: int) -> np.ndarray:
        dim = self.model.embedding_dim
        return segments.read(self.folder, number, kind, n_rows, dim, self._mended_by)

    def _seen(self) -> _Seen:
        if self.generation == self._last.generation:
            return self._last
        with self._database.snapshot():
            generation = self.generation
            rows = self._database.all(
                "SELECT number, first_window, n_windows, n_steps FROM segments "
                "ORDER BY first_window"
            )
            dead = self._database.all("SELECT id FROM windows WHERE NOT alive")
        found = tuple(Segment(*row) for row in rows)
        self._last = _Seen(generation, found, np.array(dead, np.int64).reshape(-1))
        return self._last


def _medium(row: tuple) -> Medium:
    media_id, *kept, duration_s, n_windows, failure, state = row
    names = "media record_id recording_id language digest origin size mtime_ns content"
    source = Source(**dict(zip(names.split(), kept, strict=True)))
    return Medium(media_id, source, duration_s, n_windows, failure, state == REMOVED)
