"""The faiss file of an index: written whole, and read only if it is our own.

A file of faiss from elsewhere can corrupt memory, so that none is read whose SHA-256
is not the one that the index's database holds. What does not fit is made anew.
"""

import dataclasses
import os
from typing import Any

import faiss
from absl import logging

from avl_tf import whole_files
from avl_tf.manifest.media_files import sha256
from avl_tf.retrieval.vector_building import Built
from avl_tf.retrieval.writing import Writer

# The share of windows that are new or dead from which a cache is made anew.
_STALE = 0.1
# Changes with what the file or the note holds.
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Note:
    """What is known of a cache; in the index's database, as "vectors-SIDE".

    Attributes:
        format, faiss: versions of ours and of faiss.
        model: digest of the model.
        kind: "flat", or "reduced".
        segments: the numbers of those that it covers.
        n, n_dead: windows in it, and those of its segments that were dead before.
        sha256: of the file.
        size, ctime_ns, inode: of the file when its sha256 was last taken.
        recall, n_queries: recall@10 against exact, with so many audio queries.
    """

    format: int
    faiss: str
    model: str
    kind: str
    segments: tuple[int, ...]
    n: int
    n_dead: int
    sha256: str
    size: int
    ctime_ns: int
    inode: int
    recall: float | None
    n_queries: int


@dataclasses.dataclass(frozen=True)
class Cached:
    """An index of faiss by window ids, and what is known of it."""

    index: faiss.Index
    note: Note

    @property
    def segments(self) -> tuple[int, ...]:
        """The numbers of those that it covers."""
        return self.note.segments


def path(folder: str, side: str) -> str:
    """The file of a side; folder is the index directory."""
    return os.path.join(folder, "cache", f"{side}.faiss")


def write(
    store: Writer, side: str, built: Built, recall: float | None, n_queries: int
) -> Note:
    """Writes a cache and its note.

    Args:
        store: the index, open for writing.
        side: "visual" or "audio".
        built: what is written.
        recall, n_queries: as of Note.

    Raises:
        OSError: it cannot be written.
    """
    name = path(store.folder, side)
    with whole_files.used(os.path.dirname(name)), whole_files.replacing(name) as new:
        try:
            faiss.write_index(built.index, new)
        except RuntimeError as error:  # faiss' own, of a full disk and so on
            why = " ".join(str(error).split()).rpartition(": ")[2]
            raise OSError(f"{name}: cannot be written ({why}).") from error
        digest = sha256(new).hex()
    note = Note(
        FORMAT,
        faiss.__version__,
        store.model.digest,
        built.kind,
        tuple(built.segments),
        built.index.ntotal,
        built.n_dead,
        digest,
        *_status(name),
        recall,
        n_queries,
    )
    _put(store, side, note)
    return note


def _put(store: Writer, side: str, note: Note) -> None:
    store.put_note(f"vectors-{side}", dataclasses.asdict(note))


def fitting(store: Any, side: str) -> Note | None:
    """The note of a cache that fits the index and this program; its file is there."""
    value = store.note(f"vectors-{side}")
    if not isinstance(value, dict):
        return None
    try:
        note = Note(**{**value, "segments": tuple(value["segments"])})
    except (TypeError, KeyError):  # of another version
        return None
    wanted = FORMAT, faiss.__version__, store.model.digest
    if (note.format, note.faiss, note.model) != wanted:
        return None
    try:
        return note if _status(path(store.folder, side))[0] == note.size else None
    except OSError:
        return None


def read(store: Any, side: str) -> Cached | None:
    """Maps the cache of a side into memory; None if there is none that fits."""
    note, name = fitting(store, side), path(store.folder, side)
    if note is None:
        return None
    try:
        # Gigabytes are not hashed at each opening: nobody can set the time of a
        # file's last change (ctime), nor write to it without moving that.
        if _status(name) != (note.size, note.ctime_ns, note.inode):
            if sha256(name).hex() != note.sha256:
                logging.warning("%s is not the file that was made here.", name)
                return None
            size, ctime_ns, inode = _status(name)
            note = dataclasses.replace(note, ctime_ns=ctime_ns, inode=inode)
            if isinstance(store, Writer):
                _put(store, side, note)
        # Mapped: of a million it is open in milliseconds.
        index = faiss.read_index(name, faiss.IO_FLAG_MMAP_IFC)
    except (OSError, RuntimeError) as error:
        logging.warning("%s: cannot be read (%s).", name, " ".join(str(error).split()))
        return None
    return Cached(index, note)


def is_stale(store: Any, side: str) -> bool:
    """Whether a cache is missing, or a tenth of the windows is new or dead."""
    note = fitting(store, side)
    if note is None:
        return True
    listed = sum(one.n_windows for one in store.segments)
    covered = sum(
        one.n_windows for one in store.segments if one.number in set(note.segments)
    )
    new, dead = listed - covered, listed - store.n_windows - note.n_dead
    return new + dead > _STALE * max(1, listed)


def _status(name: str) -> tuple[int, int, int]:
    status = os.stat(name)
    return status.st_size, status.st_ctime_ns, status.st_ino
