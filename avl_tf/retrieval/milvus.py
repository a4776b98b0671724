"""The vectors of an index in a Milvus, in place of a faiss file, for many machines.

What is true of an index stays in its folder; a collection a side holds, by window id,
the vector and what a client of Milvus wants to know of the window: media, recording_id,
language, start_s, end_s. Other clients may read it. Written again from the segments
at any time. MILVUS_TOKEN in the environment is the server's user:password or token.

milvus-lite, a Milvus in a local file, speaks the same protocol; it is opened by one
process at a time.
"""

import contextlib
import functools
import logging as standard_logging
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from avl_tf import progress
from avl_tf.errors import UserError
from avl_tf.retrieval.entries import SIDES, Segment
from avl_tf.retrieval.vector_building import read
from avl_tf.retrieval.writing import Writer

PREFIX = "milvus:"
_NOTE = "milvus"
_ROWS_AT_ONCE = 500
# Milvus' own limit on what a search returns.
_MOST = 16_384
_TEXT = 4096
_PATIENCE_S = 20


class Collection:
    """What VectorIndex asks of an index of faiss, answered by a collection."""

    def __init__(self, uri: str, name: str, segments: tuple[int, ...]):
        """Takes where it is, and the numbers of the segments that it covers."""
        self.segments = segments
        self._uri, self._name = uri, name

    @property
    def index(self) -> "Collection":
        """Itself; of a faiss file, what it holds."""
        return self

    @property
    def ntotal(self) -> int:
        """How many vectors it holds, at most."""
        with _told(self._uri) as client:
            return int(client.get_collection_stats(self._name)["row_count"])

    def search(
        self, queries: np.ndarray, k: int, params: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best of each query, scores and ids; params.sel says which may be."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        wanted = k
        while True:
            n = min(wanted, _MOST)
            with _told(self._uri) as client:
                found = client.search(
                    self._name,
                    data=list(queries),
                    limit=n,
                    search_params={"metric_type": "IP"},
                    output_fields=["id"],
                    consistency_level="Strong",
                )
            kept = [
                [hit for hit in hits if not params or params.sel.is_member(_id(hit))]
                for hits in found
            ]
            if n == _MOST or all(
                len(good) >= k or len(hits) < n
                for good, hits in zip(kept, found, strict=True)
            ):
                break
            wanted *= 2
        for row, hits in enumerate(kept):
            for column, hit in enumerate(hits[:k]):
                scores[row, column], ids[row, column] = hit["distance"], _id(hit)
        return scores, ids


def uri(store: Any) -> str:
    """The Milvus that an index's vectors are in; "" if they are in a faiss file."""
    note = store.note(_NOTE)
    return note["uri"] if note else ""


def choose(store: Writer, where: str) -> None:
    """Keeps an index's vectors elsewhere from now on.

    Args:
        store: the index.
        where: "faiss", or "milvus:" and an URI: http://HOST:19530 of a server, or the
            file of a milvus-lite.

    Raises:
        UserError: it is neither, or no Milvus answers there; nothing is changed.
    """
    address = ""
    if where != "faiss":
        address = where.removeprefix(PREFIX)
        if address == where or not address:
            raise UserError(
                f"--store={where}: expected faiss, milvus:http://HOST:19530, or "
                "milvus:FILE.db for milvus-lite."
            )
        if "://" not in address:
            address = os.path.abspath(address)
    if address == uri(store):
        return
    if address:
        with _told(address) as client:
            client.has_collection("avl")
    drop(store)
    name = f"avl_{uuid.uuid4().hex[:12]}"
    note = {"uri": address, "name": name, "segments": {}, "n_dead": {}}
    store.put_note(_NOTE, note if address else None)


def drop(store: Writer) -> None:
    """Removes an index's collections from its Milvus."""
    if note := store.note(_NOTE):
        with _told(note["uri"]) as client:
            for side in SIDES:
                client.drop_collection(f"{note['name']}_{side}")
        store.put_note(_NOTE, {**note, "segments": {}, "n_dead": {}})


def opened(store: Any, side: str) -> Collection | None:
    """The collection of a side; None before it was filled."""
    note = store.note(_NOTE)
    if side not in note["segments"]:
        return None
    segments, name = tuple(note["segments"][side]), f"{note['name']}_{side}"
    with _told(note["uri"]) as client:
        client.load_collection(name)
    return Collection(note["uri"], name, segments)


def fill(store: Writer, side: str) -> int:
    """Brings a side's collection to what the index holds: new windows, and dead ones.

    Returns:
        How many windows were written or deleted.

    Raises:
        UserError: the Milvus does not answer, or refuses.
    """
    note = store.note(_NOTE)
    name = f"{note['name']}_{side}"
    with _told(note["uri"]) as client:
        if not client.has_collection(name):
            _make(client, name, store.model.embedding_dim)
            note["segments"].pop(side, None)
        held = set(note["segments"].get(side, ()))
        new = [one for one in store.segments if one.number not in held]
        n_written = _write(client, name, store, side, new)
        old = [one for one in store.segments if one.number in held]
        dead = _dead(store, old)
        n_deleted = len(dead) - note["n_dead"].get(side, 0)
        if n_deleted:
            for start in range(0, len(dead), _ROWS_AT_ONCE):
                client.delete(name, ids=dead[start : start + _ROWS_AT_ONCE])
        if new or n_deleted:
            client.flush(name)
    note = store.note(_NOTE)  # the other side may have changed it
    note["segments"][side] = [one.number for one in store.segments]
    note["n_dead"][side] = len(_dead(store, store.segments))
    store.put_note(_NOTE, note)
    return n_written + n_deleted


def _dead(store: Any, segments: Sequence[Segment]) -> list[int]:
    ids = [np.zeros(0, np.int64)]
    for one in segments:
        own = one.first_window + np.arange(one.n_windows, dtype=np.int64)
        ids.append(own[~store.alive(own)])
    return np.concatenate(ids).tolist()


def _make(client: Any, name: str, dim: int) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    for text in ("media", "recording_id", "language"):
        schema.add_field(text, DataType.VARCHAR, max_length=_TEXT)
    for number in ("start_s", "end_s"):
        schema.add_field(number, DataType.DOUBLE)
    how = client.prepare_index_params()
    how.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
    client.create_collection(name, schema=schema, index_params=how)


def _write(
    client: Any, name: str, store: Any, side: str, segments: Sequence[Segment]
) -> int:
    n = 0
    total = sum(one.n_windows for one in segments)
    with progress.Bar(total=total, unit="window") as bar:
        for ids, rows in read(store, side, segments):
            for start in range(0, len(ids), _ROWS_AT_ONCE):
                part = slice(start, start + _ROWS_AT_ONCE)
                windows = store.windows(ids[part])
                told = [
                    {
                        "id": window.id,
                        "vector": row,
                        "media": _short(window.media),
                        "recording_id": _short(window.recording_id),
                        "language": _short(window.language),
                        "start_s": window.start_s,
                        "end_s": window.end_s,
                    }
                    for window, row in zip(windows, rows[part], strict=True)
                ]
                client.upsert(name, told)
                n += len(told)
                bar.update(len(told))
    return n


def _short(text: str) -> str:
    """What of a text fits into a field of Milvus, whose limit is in bytes."""
    return text.encode("utf-8", "replace")[:_TEXT].decode("utf-8", "ignore")


def _id(hit: Any) -> int:
    return int(hit["id"])


@contextlib.contextmanager
def _told(address: str) -> Iterator[Any]:
    """A client of a Milvus, whose complaints are a user's to mend."""
    try:
        from pymilvus import MilvusException
    except ImportError as error:
        raise UserError(
            "an index in a Milvus needs pymilvus: pip install 'avl_tf[milvus]'."
        ) from error
    try:
        yield _client(address)
    except (MilvusException, OSError) as error:
        why = " ".join(getattr(error, "message", str(error)).split())
        raise UserError(f"milvus:{address}: {why}.") from error


@functools.lru_cache
def _client(address: str) -> Any:
    from pymilvus import MilvusClient

    # It logs what it raises too, by loggers that it makes when they are needed;
    # milvus-lite does of each of its calls that it has not.
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite", "grpc._server"):
        quiet = standard_logging.getLogger(name)
        quiet.propagate, quiet.handlers = False, [standard_logging.NullHandler()]
    token = os.environ.get("MILVUS_TOKEN", "")
    return MilvusClient(address, token=token, timeout=_PATIENCE_S)
