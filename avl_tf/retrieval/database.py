"""The SQLite file of an index: its tables, and how it is opened; no TensorFlow here."""

import contextlib
import os
import pathlib
import shlex
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from avl_tf.errors import UserError

NAME = "index.sqlite"
FORMAT = 1
# Of a medium: indexed or failed; taken out by the user, to stay out; gone.
HERE, REMOVED, GONE = 0, 1, 2
_APPLICATION = 0x61766C69  # "avli"
# What a write-ahead log is beside its database.
COMPANIONS = ("", "-wal", "-shm")
_PATIENCE_S = 30.0
# In what SQLite says, of what no --rebuild would mend.
_OF_THE_DISK = ("full", "readonly", "unable to open", "disk I/O error")

# A medium's state is HERE, REMOVED or GONE. A window's steps are the rows from
# first_step on of its segment's; the first begins at step_start_s of the media file.
_TABLES = """
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, first_window INTEGER NOT NULL,
    n_windows INTEGER NOT NULL, n_steps INTEGER NOT NULL,
    visual TEXT NOT NULL, audio TEXT NOT NULL, steps TEXT NOT NULL
);
CREATE TABLE media (
    id INTEGER PRIMARY KEY AUTOINCREMENT, media TEXT NOT NULL,
    record_id TEXT NOT NULL, recording_id TEXT NOT NULL, language TEXT NOT NULL,
    digest TEXT NOT NULL, origin TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, content TEXT NOT NULL, duration_s REAL NOT NULL,
    n_windows INTEGER NOT NULL, failure TEXT NOT NULL, state INTEGER NOT NULL
);
CREATE UNIQUE INDEX present_media ON media (media, record_id) WHERE state < 2;
CREATE TABLE windows (
    id INTEGER PRIMARY KEY, media_id INTEGER NOT NULL, alive INTEGER NOT NULL,
    start_s REAL NOT NULL, end_s REAL NOT NULL, label TEXT NOT NULL,
    first_step INTEGER NOT NULL, n_steps INTEGER NOT NULL,
    step_start_s REAL NOT NULL, step_s REAL NOT NULL
);
CREATE INDEX windows_of_media ON windows (media_id);
CREATE INDEX dead_windows ON windows (id) WHERE NOT alive;
INSERT INTO state VALUES ('generation', 0), ('next_window', 0), ('next_segment', 0);
"""


class Database:
    """A connection that any thread may use, one at a time.

    What SQLite says of a damaged file becomes a UserError that tells what mends it.
    """

    def __init__(self, folder: str, writes: bool, mended_by: str):
        """Opens the database of an index directory.

        Args:
            folder: the index directory.
            writes: to write too; an empty database is made where there is none.
            mended_by: what a user is told to do if it is damaged.

        Raises:
            FileNotFoundError: there is none, and it is not to be made.
            UserError: it is damaged, or of another version.
        """
        self.path = os.path.join(folder, NAME)
        self._mended_by = mended_by
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        is_new = not os.path.exists(self.path)
        if is_new and not writes:
            raise _nothing_in(folder)
        with self._told():
            try:
                self._open(folder, writes)
            except BaseException:
                self.close()
                raise

    def _open(self, folder: str, writes: bool) -> None:
        uri = pathlib.Path(self.path).absolute().as_uri()
        mode = "rwc" if writes else "ro"
        if not writes and not os.access(folder, os.W_OK):
            # SQLite cannot put its log's index beside it; nobody writes there.
            mode += "" if os.path.exists(f"{self.path}-wal") else "&immutable=1"
        self._connection = sqlite3.connect(
            f"{uri}?mode={mode}",
            uri=True,
            timeout=_PATIENCE_S,
            isolation_level=None,
            check_same_thread=False,
        )
        (application,) = self._one("PRAGMA application_id")
        (version,) = self._one("PRAGMA user_version")
        if not application and self._is_begun(folder):
            if not writes:
                raise _nothing_in(folder)
            self._make()
        elif application != _APPLICATION:
            raise UserError(
                f"{self.path}: not an index of avl_tf.index. {self._mended_by}"
            )
        elif version != FORMAT:
            raise UserError(
                f"{self.path}: an index of format {version}, this version reads "
                f"format {FORMAT}. {self._mended_by}"
            )
        if writes:
            # What was committed is on the disk, as the segments are.
            self._one("PRAGMA journal_mode=WAL")
            self._connected().execute("PRAGMA synchronous=FULL")
        if len(self._all("SELECT value FROM state")) < 3:
            raise UserError(f"{self.path}: damaged (no state). {self._mended_by}")

    def _is_begun(self, folder: str) -> bool:
        """Whether nothing was ever written; a process may have been killed at once."""
        place = os.path.join(folder, "segments")
        there = os.path.isdir(place) and os.listdir(place)
        return not self._one("PRAGMA schema_version")[0] and not there

    def _make(self) -> None:
        self._one("PRAGMA journal_mode=WAL")
        self._connected().executescript(
            f"BEGIN IMMEDIATE; PRAGMA application_id={_APPLICATION}; "
            f"PRAGMA user_version={FORMAT}; {_TABLES} COMMIT;"
        )

    def close(self) -> None:
        """Closes it; of the last one the log goes into the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple]:
        """The rows of a query, or of none."""
        with self._told():
            return self._all(sql, values)

    def one(self, sql: str, values: Sequence[Any] = ()) -> tuple:
        """The first row of a query that has one; UserError if it has none."""
        rows = self.all(sql, values)
        if not rows:
            raise UserError(f"{self.path}: damaged (a row is gone). {self._mended_by}")
        return rows[0]

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Executes a statement for each row of values."""
        with self._told(), self._lock:
            self._connected().executemany(sql, rows)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is executed in the block, or nothing of it; it is then on disk."""
        with self._told(), self._lock:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                connection.execute(
                    "UPDATE state SET value = value + 1 WHERE name = 'generation'"
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read in the block is of one moment."""
        with self._told(), self._lock:
            connection = self._connected()
            if connection.in_transaction:
                yield
                return
            connection.execute("BEGIN")
            try:
                yield
            finally:
                connection.rollback()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError(f"{self.path} is closed")
        return self._connection

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[tuple]:
        with self._lock:
            return self._connected().execute(sql, values).fetchall()

    def _one(self, sql: str) -> tuple:
        return self._all(sql)[0]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            text = str(error)
            if "locked" in text:
                raise UserError(
                    f"{self.path}: another process writes to it since "
                    f"{_PATIENCE_S:g} s. Wait for it, or stop it."
                ) from error
            if any(words in text for words in _OF_THE_DISK):
                raise OSError(f"{self.path}: {text}.") from error
            raise UserError(
                f"{self.path}: damaged ({text}). {self._mended_by}"
            ) from error
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"{self.path}: damaged ({error}). {self._mended_by}"
            ) from error


def _nothing_in(folder: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{folder}: no index here (nothing in {NAME}). Make one: python -m "
        f"avl_tf.index --model=RUN --videos=DIR --index_dir={shlex.quote(folder)}"
    )


def require_local(index_dir: str) -> None:
    """UserError for a URL."""
    if "://" in index_dir:
        raise UserError(
            f"{index_dir}: an index is a local folder: its files are mapped into "
            "memory. Copy it, or mount it as one."
        )


def mended_by(index_dir: str) -> str:
    """What makes a damaged index whole."""
    place = shlex.quote(index_dir)
    return (
        f"`python -m avl_tf.index --index_dir={place} --rebuild` makes the index "
        "anew from its media."
    )
