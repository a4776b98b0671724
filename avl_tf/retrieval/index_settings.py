"""What an index is made of and how, kept in it so that a later run needs no flags.

It lies beside the database too, in settings.json: from it a damaged index is made anew.
"""

import dataclasses
import os
from typing import Any

from avl_tf import json_text, whole_files
from avl_tf.errors import UserError
from avl_tf.retrieval.database import mended_by
from avl_tf.retrieval.entries import ModelNote
from avl_tf.retrieval.origins import Origin
from avl_tf.retrieval.store import Store
from avl_tf.retrieval.windows import WindowConfig
from avl_tf.retrieval.writing import Writer

_NAME = "settings.json"


@dataclasses.dataclass(frozen=True)
class IndexSettings:
    """How an index is made.

    model: its folder. weights_2d, weights_3d: files of the CNNs' weights, "" for their
    own. trained_s, sees_images, hears, note: what is known of the model; note is not
    kept here. windows: as they were asked for. store: where vectors are searched, as
    milvus.choose takes it.
    """

    model: str = ""
    weights_2d: str = ""
    weights_3d: str = ""
    windows: WindowConfig = WindowConfig()
    origins: tuple[Origin, ...] = ()
    trained_s: float = 0.0
    sees_images: bool = False
    hears: tuple[str, ...] = ()
    note: ModelNote | None = None
    store: str = "faiss"

    def write(self, writer: Writer) -> None:
        """Keeps them in an index and beside it, if they are not there already."""
        value = dataclasses.asdict(self)
        del value["note"]
        for name in ("origins", "hears"):
            value[name] = list(value[name])
        path = os.path.join(writer.folder, _NAME)
        if writer.note("settings") == value and os.path.exists(path):
            return
        writer.put_note("settings", value)
        with whole_files.replacing(path) as temporary:
            with open(temporary, "w", encoding="utf-8") as out:
                out.write(json_text.dump(value, indent=1) + "\n")


def read(index_dir: str) -> IndexSettings | None:
    """The settings of an index; None where none is.

    Raises:
        UserError: the database is damaged, or is gone from where one was.
    """
    try:
        with Store.open(index_dir) as store:
            value = store.note("settings")
            note = store.model if store.note("model") else None
    except FileNotFoundError:
        if beside(index_dir) is None:
            return None
        raise UserError(
            f"{index_dir}: the database of the index is gone. {mended_by(index_dir)}"
        ) from None
    if value is None:
        return beside(index_dir)
    return dataclasses.replace(_from(value, index_dir), note=note)


def beside(index_dir: str) -> IndexSettings | None:
    """The settings that lie beside the database; None if they do not."""
    path = os.path.join(index_dir, _NAME)
    try:
        with open(path, "rb") as file:
            return _from(json_text.parse(file.read(), path), path)
    except FileNotFoundError:
        return None


def _from(value: Any, place: str) -> IndexSettings:
    try:
        windows = WindowConfig(**value["windows"])
        origins = tuple(Origin(**one) for one in value["origins"])
        lists = {"origins": origins, "hears": tuple(value.get("hears", ()))}
        return IndexSettings(**{**value, "windows": windows, **lists})
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{place}: not the settings of an index ({error}). Give --model and "
            "--videos (or --manifest, --records) again, with --rebuild."
        ) from error
