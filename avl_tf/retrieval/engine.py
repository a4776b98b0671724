"""The search engine: an index and its model, a query in, moments of videos out."""

import dataclasses
import threading
from typing import Literal

import numpy as np
from absl import logging

from avl_tf import trained
from avl_tf.errors import UserError
from avl_tf.retrieval import moments
from avl_tf.retrieval import rerank as reranking
from avl_tf.retrieval.entries import Window
from avl_tf.retrieval.store import Store
from avl_tf.retrieval.vectors import VectorIndex
from avl_tf.trained.embedder import Embedder
from avl_tf.trained.hearing import Heard
from avl_tf.trained.sources import Source

By = Literal["audio", "video", "image", "window"]
Output = Literal["video", "audio"]
_SIDES = {"video": "visual", "audio": "audio"}
# Windows that are looked at for moments, and reranked.
_LOOKED_AT = 100
# Of a spoken query no more is read.
_LONGEST_S = 600


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment that was found.

    Attributes:
        rank: 1 is the best.
        recording_id: of the recording.
        media, media_id: its file, "" if nobody knows it, and the index's number of it.
        start_s, end_s: the moment, in seconds of the media file.
        score: a dot product, larger is better.
        match: whether the query fits anything; None of an index without calibration.
        precision: how often a hit of this score is right; None as match.
        window_id: of the window that stands for the moment.
        missing: why the file cannot be played now, "" if it can.
        language, label: of the recording, and of the window; "" if nobody said.
    """

    rank: int
    recording_id: str
    media: str
    media_id: int
    start_s: float
    end_s: float
    score: float
    match: bool | None
    precision: float | None
    window_id: int
    missing: str
    language: str = ""
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a search found.

    Attributes:
        hits: the moments, the best first.
        match: whether the query fits anything in the index at all; None if the index
            has no calibration for such a search.
        threshold: the score of the best hit from which on it is a match, or None.
        error_rate: of queries that fit nothing, so many at most are called a match.
        calibrated: with what, or why not and how, in a line.
    """

    hits: tuple[Hit, ...]
    match: bool | None
    threshold: float | None
    error_rate: float
    calibrated: str


class Engine:
    """An index, its model and its vectors; from open. Any thread may search.

    Attributes:
        store: the index.
        embedder: the model.
        error_rate: see Answer.
    """

    def __init__(self, store: Store, embedder: Embedder, error_rate: float):
        self.store, self.embedder, self.error_rate = store, embedder, error_rate
        self._lock = threading.Lock()
        self._indexes: dict[str, tuple[int, VectorIndex]] = {}

    @classmethod
    def open(
        cls,
        index_dir: str,
        model: str = "",
        weights_2d: str = "",
        weights_3d: str = "",
        error_rate: float = 0.1,
    ) -> "Engine":
        """Opens an index and loads its model.

        Args:
            index_dir: the index.
            model: where its model is now; where it was when the index was made if "".
            weights_2d, weights_3d: as avl_tf.load.
            error_rate: see Answer.

        Raises:
            FileNotFoundError: there is no index, or no model there.
            UserError: the index is damaged or was made by another model.
        """
        store = Store.open(index_dir)
        note = store.model
        try:
            embedder = trained.load(model or note.path, weights_2d, weights_3d)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{error} {index_dir} was made with the model of {note.path}: say "
                "where it is now by --model=FOLDER."
            ) from error
        if embedder.digest != note.digest:
            raise UserError(
                f"{index_dir}: made by another model than that of {model or note.path} "
                f"({note.digest[:12]}, not {embedder.digest[:12]}; it was at "
                f"{note.path}). Give that one by --model, or make an index of its own."
            )
        return cls(store, embedder, error_rate)

    def search(
        self,
        source: Source | int,
        by: By = "audio",
        output: Output = "video",
        language: str = "und",
        n: int = 10,
        rerank: bool = True,
    ) -> Answer:
        """Finds the moments that fit a query best.

        Args:
            source: what avl_tf.load's model embeds, or the id of a window.
            by: what the source is. A window asks by what is heard in it (by what is
                seen, if nothing is) for what is seen elsewhere, or the other way
                round, and is not found itself.
            output: find by what is seen, or by what is heard.
            language: of a spoken query, for a model of several.
            n: how many moments at most.
            rerank: order what a spoken query finds by the steps of speech and pictures,
                and narrow the spans to them; see avl_tf/retrieval/rerank.py.

        Raises:
            FileNotFoundError, MediaError, UserError: the source cannot be embedded.
            KeyError: there is no such window.
        """
        query = self._query(source, by, output, language)
        windows, scores = self._windows(query.embedding, _SIDES[output], n)
        if by == "window":
            (own,) = self.store.windows([_id(source)])
            others = [i for i, one in enumerate(windows) if not _overlap(one, own)]
            windows, scores = [windows[i] for i in others], scores[others]
        spans = [(one.start_s, one.end_s) for one in windows]
        if rerank and output == "video" and query.steps is not None and windows:
            seen = [self.store.steps(one.id) for one in windows]
            scores, spans = reranking.rerank(query.steps, seen, spans, scores)
        order = np.argsort(-scores, kind="stable")
        hits: list[Hit] = []
        for at in moments.merge([windows[i] for i in order], n):
            index = order[at]
            window, (start_s, end_s) = windows[index], spans[index]
            hit = Hit(
                rank=len(hits) + 1,
                recording_id=window.recording_id,
                media=window.media,
                media_id=window.media_id,
                start_s=start_s,
                end_s=end_s,
                score=float(scores[index]),
                match=None,
                precision=None,
                window_id=window.id,
                missing=self.store.missing(window.media_id),
                language=window.language,
                label=window.label,
            )
            hits.append(hit)
        how = (
            "not calibrated: `python -m avl_tf.index --index_dir="
            f"{self.store.folder} --validation=RECORDS` tells what score is a match."
        )
        return Answer(tuple(hits), None, None, self.error_rate, how)

    def _query(
        self, source: Source | int, by: By, output: Output, language: str
    ) -> Heard:
        if by == "window":
            return Heard(None, 0.0, self._of_window(_id(source), _SIDES[output]))
        if isinstance(source, int):
            raise TypeError(f"by={by!r} takes no id of a window")
        if by == "audio":
            heard = self.embedder.embed_audio_steps(source, language, _LONGEST_S)
            if heard.steps is None:
                logging.log_first_n(
                    logging.WARNING,
                    "this export was made before it could tell the steps of speech: "
                    "hits are not reranked. Run avl_tf.export again.",
                    1,
                )
            return heard
        return Heard(None, 0.0, self.embedder.embed_video(source, language)[0])

    def _windows(
        self, query: np.ndarray, side: str, n: int
    ) -> tuple[list[Window], np.ndarray]:
        """The best windows, the best first: as many as n moments take."""
        index, k = self._index(side), max(_LOOKED_AT, n)
        while True:
            scores, ids = index.search(query[np.newaxis], k)
            ids, scores = ids[0][ids[0] >= 0], scores[0][ids[0] >= 0]
            windows = self.store.windows(ids)
            # So many windows of one video may be a single moment.
            if len(ids) < k or len(moments.merge(windows, n)) == n:
                return windows, scores
            k *= 2

    def _of_window(self, window_id: int, searched: str) -> np.ndarray:
        """The vector of a window on the other side than is searched, or on that."""
        for side in sorted(("audio", "visual"), key=lambda one: one == searched):
            row = self._index(side).rows(np.array([window_id], np.int64))[0]
            if np.isfinite(row).all():
                return row
        raise UserError(f"window {window_id}: nothing is seen or heard in it.")

    def _index(self, side: str) -> VectorIndex:
        """The vectors of a side as they are now; what was added meanwhile too."""
        with self._lock:
            generation = self.store.generation
            held = self._indexes.get(side)
            if held is None or held[0] != generation:
                held = generation, VectorIndex.open(self.store, side)
                self._indexes[side] = held
            return held[1]


def _id(source: Source | int) -> int:
    if not isinstance(source, int):
        raise TypeError("by='window' takes the id of a window")
    return source


def _overlap(one: Window, other: Window) -> bool:
    return (
        one.media_id == other.media_id
        and one.start_s < other.end_s
        and other.start_s < one.end_s
    )
