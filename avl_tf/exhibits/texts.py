"""The texts of an exhibit, in the folder that exhibits.replacing yields."""

import os
from collections.abc import Iterable, Mapping

from avl_tf.exhibits import spans
from avl_tf.exhibits.media import file_name
from avl_tf.exhibits.spans import Span


def write(folder: str, name: str, text: str) -> None:
    """Writes a file as UTF-8, and makes the folders of its name."""
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def write_spans(
    folder: str,
    of: str,
    end_s: float,
    tiers: Mapping[str, Iterable[Span]],
    subtitles: Iterable[Span] | None = None,
) -> None:
    """Writes textgrid/OF.TextGrid and, of subtitles, webvtt/OF.vtt.

    Args:
        folder: of the exhibit.
        of: id of a record or clip, which need not be a file's name.
        end_s: of the recording.
        tiers: as of spans.textgrid.
        subtitles: None for no file of them.
    """
    base = file_name(of)
    grid = spans.textgrid(max(end_s, 0.001), tiers)
    write(folder, f"textgrid/{base}.TextGrid", grid)
    if subtitles is not None:
        write(folder, f"webvtt/{base}.vtt", spans.webvtt(subtitles))
