"""What is served: by name an index, its engine, and the export of its model.

All of it but the looks at the store is for one thread: TensorFlow has one call at a
time.
"""

import dataclasses
import mimetypes
import os
from typing import Any

from avl_tf import files, media, runs, serving
from avl_tf.errors import UserError
from avl_tf.server import decoding
from avl_tf.server.decoding import Decoded, Job
from avl_tf.server.prediction import Export
from avl_tf.server.refusals import Refusal

MOST_HITS = 100
# What a browser is told of a file, by the end of its name.
_KINDS = {
    ".mkv": "video/x-matroska",
    ".m4v": "video/mp4",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".webp": "image/webp",
}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A search as it is asked for.

    Attributes:
        index: its name.
        by: "audio", "video", "image", "window", or "auto", which is what a file holds.
        output: find by what is seen, "video", or said, "audio"; "auto" is what is not
            given: what is seen of speech, what is said of pictures.
        language: of the speech.
        n: hits wanted.
        rerank: look again at the first, step by step.
        window: of a search by a window, its id.
    """

    index: str
    by: str = "auto"
    output: str = "auto"
    language: str = "und"
    n: int = 10
    rerank: bool = True
    window: int = -1


class Served:
    """An index by its name: its engine and its model's export.

    Attributes:
        name: of it.
        store: the index, which any thread may look at.
        export: of its model; None if there is none.
    """

    def __init__(self, name: str, engine: Any, model: str):
        """Takes an open engine, and the folder of its model, a run or an export."""
        self.name, self.engine, self.store = name, engine, engine.store
        self.model = model
        self.export = _export(model)
        self._view = _view(engine.embedder)

    @property
    def about(self) -> dict[str, Any]:
        """What the page says of it."""
        heard = [name.partition(":")[2] for name in self.engine.embedder.branches]
        model = self.store.model
        return {
            "name": self.name,
            "languages": list(model.languages),
            "branches": [name for name in heard if name],
            "n_windows": self.store.n_windows,
            "embedding_dim": model.embedding_dim,
        }

    def job(self, asked: Asked, path: str, max_seconds: int) -> Job:
        """What is to be made of an upload, for this model."""
        view = self._view
        return Job(
            path,
            f"{path}.npy",
            asked.by,
            media.SAMPLE_RATE,
            view.fps,
            view.short_side,
            view.crop,
            only_keys=view.only_keys,
            max_seconds=max_seconds,
        )

    def search(self, asked: Asked, made: tuple[Job, Decoded] | None) -> Any:
        """Searches by what was decoded, or by a window; the engine's Answer.

        Raises:
            Refusal: there is no such window, or the model cannot embed it.
        """
        if made is None:
            source: Any = asked.window
            if not self.store.alive([asked.window])[0]:
                raise Refusal(404, f"there is no window {asked.window} in {self.name}.")
            by = "window"
        else:
            job, decoded = made
            source, by = (decoding.load(job.out), decoded.rate), decoded.by
        output = asked.output
        if output == "auto":
            output = "audio" if by in ("video", "image") else "video"
        try:
            return self.engine.search(
                source,
                by=by,
                output=output,
                language=asked.language,
                n=asked.n,
                rerank=asked.rerank,
            )
        except UserError as error:
            raise Refusal(422, str(error)) from error

    def playable(self, media_id: int) -> str:
        """The path of a media file of the index; Refusal 404 or 410 if it is gone."""
        try:
            path = self.store.medium(media_id).source.media
        except KeyError:
            raise Refusal(404, f"there is no medium {media_id}.") from None
        why = self.store.missing(media_id)
        if why or not os.path.isfile(path):
            raise Refusal(410, why or "the media file is gone.")
        return path


def kind_of(path: str) -> str:
    """The media type of a file, by the end of its name."""
    end = os.path.splitext(path)[1].lower()
    guessed = _KINDS.get(end) or mimetypes.guess_type(f"a{end}")[0] or ""
    is_media = guessed.startswith(("audio/", "video/", "image/"))
    # A drawing of XML can hold a script.
    return guessed if is_media and "xml" not in guessed else "application/octet-stream"


def _view(embedder: Any) -> media.View:
    """How pictures are decoded for a model: as its backbone wants them."""
    try:
        found = list(embedder.backbones().values())
    except (UserError, OSError):
        found = []  # told by the search that needs them
    if len(found) == 1:
        one = found[0]
        return media.View(one.fps, one.short_side, one.crop, embedder.only_keys)
    return media.View(max([1.0, *(one.fps for one in found)]), 256, None)


def _export(model: str) -> Export | None:
    if runs.exists(files.join(model, "assets.extra")):
        return Export(model)
    found = serving.newest(model) if runs.exists(model) else ""
    return Export(found) if found else None
