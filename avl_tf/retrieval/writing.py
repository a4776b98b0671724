"""The one process that writes an index; no TensorFlow here.

Everything is committed in transactions that are there as a whole or not at all, with
the vectors on the disk before the rows that tell of them. A process may be killed at
any time: the next one goes on from the last commit.
"""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from avl_tf import json_text, whole_files
from avl_tf.errors import UserError
from avl_tf.retrieval import database, segments
from avl_tf.retrieval.entries import SIDES, Embedded, ModelNote, Segment, Source
from avl_tf.retrieval.store import Store, require_local

_KILL = "UPDATE windows SET alive = 0 WHERE media_id = ?"
_ID = (
    "SELECT id FROM media WHERE media = ? AND record_id = ? "
    f"AND state < {database.GONE}"
)
_SOURCE = tuple(field.name for field in dataclasses.fields(Source))


class Busy(UserError):
    """Another process writes the index."""


class Writer(Store):
    """An index directory that this process alone writes; from the function writing."""

    def __init__(self, folder: str):
        """Opens or makes it, and removes what a killed process left."""
        os.makedirs(os.path.join(folder, "segments"), exist_ok=True)
        super().__init__(folder, writes=True)
        segments.remove_others(self.folder, {one.number for one in self.segments})

    def claim(self, model: ModelNote) -> None:
        """Notes the model of a new index; UserError if it was made with another."""
        if self.note("model") is None:
            self.put_note("model", dataclasses.asdict(model))
            return
        held = self.model
        if held.digest != model.digest:
            raise UserError(
                f"{self.folder}: made with the model {held.path} ({held.digest[:12]}), "
                f"{model.path} is another ({model.digest[:12]}). Use another "
                "--index_dir, or add --rebuild to make the index anew with it."
            )
        if held.path != model.path:
            self.put_note("model", dataclasses.asdict(model))

    def put_note(self, name: str, value: Any) -> None:
        """Keeps a JSON value under a name, in place of what was there."""
        with self._database.transaction():
            self._put("notes", name=name, value=json_text.dump(value))

    def add(self, found: Sequence[Embedded]) -> None:
        """Adds media with their windows as one segment, in one transaction.

        What is known of the same recording (media and record_id) is replaced.

        Raises:
            UserError: an embedding does not fit into float16.
            OSError: the disk is full, and so on; nothing is added.
        """
        number, first = self.next_segment, self._next("next_window")
        kept = {
            kind: np.concatenate([getattr(one, kind) for one in found])
            for kind in segments.KINDS
        }
        digests = [segments.write(self.folder, number, *pair) for pair in kept.items()]
        with self._database.transaction():
            n_windows, n_steps = first, 0
            for one in found:
                media_id = self._put_medium(one.source, one.duration_s, len(one.spans))
                rows = []
                for index, span in enumerate(one.spans):
                    start_s = one.first_step_s + span.first_step * one.step_s
                    place = (n_steps + span.first_step, span.n_steps)
                    told = (span.start_s, span.end_s, span.label)
                    window = n_windows + index
                    rows.append(
                        (window, media_id, 1, *told, *place, start_s, one.step_s)
                    )
                self._database.many(
                    f"INSERT INTO windows VALUES ({','.join('?' * 10)})", rows
                )
                n_windows += len(one.spans)
                n_steps += len(one.steps)
            held = (number, first, n_windows - first, n_steps, *digests)
            self._database.many("INSERT INTO segments VALUES (?,?,?,?,?,?,?)", [held])
            self._database.many(
                "UPDATE state SET value = ? WHERE name = ?",
                [(number + 1, "next_segment"), (n_windows, "next_window")],
            )

    @property
    def next_segment(self) -> int:
        """The number of the segment that is written next."""
        return self._next("next_segment")

    def merge(self, group: Sequence[Segment], notes: Mapping[str, Any]) -> None:
        """Makes neighbouring segments one, and puts notes, in one transaction.

        Their files go when the index is next written: a reader may look at them yet.
        """
        number = self.next_segment
        arrays = {
            side: [self.vectors(side, one) for one in group] for side in SIDES
        } | {"steps": [self._mapped("steps", one.number, one.n_steps) for one in group]}
        digests = [
            segments.write(self.folder, number, kind, np.concatenate(arrays[kind]))
            for kind in segments.KINDS
        ]
        n_steps, n_windows, moves = 0, 0, []
        for one in group:
            moves.append((n_steps, one.first_window, one.first_window + one.n_windows))
            n_steps, n_windows = n_steps + one.n_steps, n_windows + one.n_windows
        held = (number, group[0].first_window, n_windows, n_steps, *digests)
        with self._database.transaction():
            self._database.many(
                "UPDATE windows SET first_step = first_step + ? "
                "WHERE id >= ? AND id < ?",
                moves,
            )
            gone = [(one.number,) for one in group]
            self._database.many("DELETE FROM segments WHERE number = ?", gone)
            self._database.many("INSERT INTO segments VALUES (?,?,?,?,?,?,?)", [held])
            self._database.many(
                "UPDATE state SET value = ? WHERE name = ?",
                [(number + 1, "next_segment")],
            )
            for name, value in notes.items():
                self._put("notes", name=name, value=json_text.dump(value))

    def add_failure(self, source: Source, reason: str) -> None:
        """Notes why a recording has no windows."""
        with self._database.transaction():
            self._put_medium(source, 0.0, 0, reason)

    def remove(self, media_ids: Iterable[int], keep_out: bool = False) -> None:
        """Takes media out; with keep_out they stay known, to stay out."""
        ids = [(media_id,) for media_id in media_ids]
        state = database.REMOVED if keep_out else database.GONE
        with self._database.transaction():
            self._database.many(_KILL, ids)
            self._database.many(
                f"UPDATE media SET state = {state}, n_windows = 0 WHERE id = ?", ids
            )

    def clear(self) -> None:
        """Forgets everything but what was removed; ids are not used again."""
        with self._database.transaction():
            for table in ("notes", "segments", "windows"):
                self._database.many(f"DELETE FROM {table}", [()])
            kept = f"DELETE FROM media WHERE state != {database.REMOVED}"
            self._database.many(kept, [()])
        segments.remove_others(self.folder, ())

    def update(self, pairs: Sequence[tuple[int, Source]]) -> None:
        """Says of media whose vectors stay what else is now known of them."""
        columns = ", ".join(f"{name} = ?" for name in _SOURCE)
        rows = [
            (*(getattr(source, name) for name in _SOURCE), media_id)
            for media_id, source in pairs
        ]
        with self._database.transaction():
            self._database.many(f"UPDATE media SET {columns} WHERE id = ?", rows)

    def _put_medium(
        self, source: Source, duration_s: float, n_windows: int, failure: str = ""
    ) -> int:
        key = [source.media, source.record_id]
        rows = self._database.all(_ID, key)
        self._database.many(_KILL, rows)
        told = dict(duration_s=duration_s, n_windows=n_windows, failure=failure)
        values = {**dataclasses.asdict(source), **told, "state": database.HERE}
        if rows:
            values["id"] = rows[0][0]
        self._put("media", **values)
        return self._database.one(_ID, key)[0]

    def _put(self, table: str, **values: Any) -> None:
        places = ",".join("?" * len(values))
        self._database.many(
            f"INSERT OR REPLACE INTO {table} ({','.join(values)}) VALUES ({places})",
            [tuple(values.values())],
        )

    def _next(self, name: str) -> int:
        return self._database.one("SELECT value FROM state WHERE name = ?", [name])[0]


@contextlib.contextmanager
def writing(index_dir: str) -> Iterator[Writer]:
    """Opens an index for the one process that writes it, or makes it.

    Raises:
        Busy: another process writes it.
        UserError: it is damaged or of another version, or the path is a URL.
        OSError: the folder cannot be made.
    """
    require_local(index_dir)
    with _alone(index_dir), Writer(index_dir) as writer:
        yield writer


def discard(index_dir: str) -> None:
    """Removes a database that is damaged, all vectors and the cache.

    Raises:
        Busy: another process writes the index.
    """
    require_local(index_dir)
    with _alone(index_dir):
        for suffix in database.COMPANIONS:
            path = os.path.join(index_dir, f"{database.NAME}{suffix}")
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
        segments.remove_others(index_dir, ())
        shutil.rmtree(os.path.join(index_dir, "cache"), ignore_errors=True)


@contextlib.contextmanager
def _alone(index_dir: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(whole_files.locked(index_dir))
        except BlockingIOError:
            raise Busy(
                f"{index_dir}: another process is writing to this index. Wait for it, "
                "stop it, or use another --index_dir."
            ) from None
        yield
