"""The search engine: an index and its model, a query in, moments of videos out."""

from typing import Literal

import numpy as np
from absl import logging

from avl_tf import trained
from avl_tf.errors import UserError
from avl_tf.retrieval import moments, same_model
from avl_tf.retrieval.answers import Answer, Hit
from avl_tf.retrieval.calibrated import Calibrated
from avl_tf.retrieval.finding import Finder
from avl_tf.retrieval.store import Store
from avl_tf.trained.embedder import Embedder
from avl_tf.trained.hearing import Heard
from avl_tf.trained.sources import Source

By = Literal["audio", "video", "image", "window"]
Output = Literal["video", "audio"]
# Of a spoken query no more is read.
_LONGEST_S = 600


class Engine:
    """An index, its model and its vectors; from open. Any thread may search.

    Attributes:
        store: the index.
        embedder: the model.
        finder: its vectors.
        error_rate: see Answer.
    """

    def __init__(self, store: Store, embedder: Embedder, error_rate: float):
        self.store, self.embedder, self.error_rate = store, embedder, error_rate
        self.finder = Finder(store)
        self._calibrated = Calibrated(store, self.finder, error_rate)

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
            UserError: the index is damaged or was made by another model, or that embeds
                its golden input otherwise here.
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
        same_model.require_golden(embedder, note, index_dir)
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
        steps = query.steps if rerank and output == "video" else None
        # What overlaps a window that asks is not wanted: three moments at most.
        found = self.finder.find(query.embedding, steps, output, n + 3)
        if by == "window":
            (own,) = self.store.windows([_id(source)])
            others = [not moments.overlap(one, own) for one in found.windows]
            found = found.only(np.flatnonzero(others).tolist())
        found = found.moments(n)
        reading = self._calibrated.read(
            query.embedding, found.scores, f"{by}-{output}", steps is not None
        )
        hits = [
            Hit(
                rank=rank,
                recording_id=window.recording_id,
                media=window.media,
                media_id=window.media_id,
                start_s=start_s,
                end_s=end_s,
                score=float(score),
                match=match,
                precision=precision,
                window_id=window.id,
                missing=self.store.missing(window.media_id),
                language=window.language,
                label=window.label,
            )
            for rank, (window, (start_s, end_s), score, match, precision) in enumerate(
                zip(
                    found.windows,
                    found.spans,
                    found.scores,
                    reading.matches,
                    reading.precisions,
                    strict=True,
                ),
                1,
            )
        ]
        return Answer(
            tuple(hits),
            reading.match,
            reading.threshold,
            self.error_rate,
            reading.told,
        )

    def _query(
        self, source: Source | int, by: By, output: Output, language: str
    ) -> Heard:
        if by == "window":
            return Heard(None, 0.0, self.finder.of_window(_id(source), output))
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


def _id(source: Source | int) -> int:
    if not isinstance(source, int):
        raise TypeError("by='window' takes the id of a window")
    return source
