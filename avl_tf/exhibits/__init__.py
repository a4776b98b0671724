"""Offline pages in a folder: index.html, frames/ and media/ beside it, whole or not.

media cuts playable excerpts and key frames, page makes the HTML, spans the files for
Praat and subtitles, sources tells where the media of records are. No TensorFlow here.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator

from avl_tf.errors import UserError
from avl_tf.exhibits import page
from avl_tf.manifest import require_local
from avl_tf.whole_files import temporary_name

INDEX = "index.html"


@contextlib.contextmanager
def replacing(folder: str) -> Iterator[str]:
    """Yields an empty folder to make an exhibit in; at the end it gets its name.

    An earlier exhibit of that name is replaced, nothing else is. If the block raises,
    what was there stays and the new folder is gone.

    Args:
        folder: local; the block writes an index.html by page.html.

    Raises:
        UserError: there is something that is no such exhibit, or holds more.
        OSError: it cannot be written.
    """
    require_local(folder)
    folder = folder.rstrip("/") or "/"
    check(folder)
    temporary = temporary_name(folder)
    os.makedirs(temporary)
    try:
        yield temporary
        check(folder, os.listdir(temporary))
        if os.path.isdir(folder):
            old = temporary_name(folder)
            os.rename(folder, old)
            os.rename(temporary, folder)
            shutil.rmtree(old)
        else:
            os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def check(folder: str, names: list[str] | None = None) -> None:
    """UserError if replacing must not replace what is there.

    Args:
        folder: of an exhibit to be.
        names: what the new one holds; None is not known yet.
    """
    if not os.path.lexists(folder):
        return
    held = os.listdir(folder) if os.path.isdir(folder) else None
    if held == []:
        return
    if held is None or not page.is_ours(os.path.join(folder, INDEX)):
        raise UserError(
            f"{folder}: there is something else already. Name a folder that is not "
            "there yet, or one that this program has written."
        )
    if names is not None and (others := sorted(set(held) - set(names))):
        raise UserError(
            f"{folder}: it holds {others[0]}, which the new page would not. Move it "
            "away, or name another folder."
        )
