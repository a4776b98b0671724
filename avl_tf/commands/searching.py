"""What avl_tf.search does: an index opened, a query asked, hits as a table or JSON."""

import dataclasses
import math
import os
import sys
import threading
from typing import Any, TextIO

import numpy as np
from absl import logging

from avl_tf import json_text, media
from avl_tf.errors import UserError
from avl_tf.media import microphone
from avl_tf.retrieval.engine import Answer, Engine


@dataclasses.dataclass(frozen=True)
class Query:
    """A query of the program; source None is the microphone. See Engine.search."""

    index_dir: str
    source: str | None
    by: Any
    output: Any
    language: str
    n: int
    rerank: bool
    record_s: float = 10.0


def search(
    query: Query,
    model: str,
    weights_2d: str,
    weights_3d: str,
    error_rate: float,
    as_json: bool,
    out: TextIO,
) -> None:
    """Answers a query.

    Args:
        query: what is asked.
        model, weights_2d, weights_3d, error_rate: see Engine.open.
        as_json: print the hits as a list, or a table.
        out: where to.

    Raises:
        As Engine.open and Engine.search.
    """
    require_kind(query)
    engine = Engine.open(query.index_dir, model, weights_2d, weights_3d, error_rate)
    require_language(engine, query)
    if not engine.store.n_windows:
        raise UserError(
            f"{query.index_dir}: an empty index. Add videos to it by avl_tf.index."
        )
    source = query.source if query.source is not None else listen(query.record_s)
    answer = engine.search(
        source,
        query.by,
        query.output,
        query.language,
        query.n,
        query.rerank,
    )
    print(as_list(answer) if as_json else table(answer), file=out)


def listen(longest_s: float) -> tuple[np.ndarray, int]:
    """Records from the microphone until Enter is pressed, longest_s at most."""
    pressed = threading.Event()

    def wait():
        # At the end of a standard input that is no terminal nobody can press it.
        if sys.stdin and sys.stdin.readline():
            pressed.set()

    threading.Thread(target=wait, daemon=True).start()
    print(f"Speak, and press Enter (at most {longest_s:g} s).", file=sys.stderr)
    return microphone.record(longest_s, pressed.is_set), microphone.RATE_HZ


def require_language(engine: Engine, query: Query) -> None:
    """UserError if a model of several languages is not told which it hears.

    Of one that hears another language alone, it warns.
    """
    languages = engine.embedder.languages
    heard = [name[6:] for name in engine.embedder.branches if ":" in name]
    if query.by == "audio" and heard and query.language not in heard:
        raise UserError(
            f"--language={query.language}: the model hears {', '.join(heard)}, each "
            "with a branch of its own. Say which it is."
        )
    if query.by == "audio" and not heard and query.language not in (*languages, "und"):
        logging.warning(
            "--language=%s: the model has learnt speech in %s, and hears the query as "
            "such.",
            query.language,
            ", ".join(languages),
        )


def require_kind(query: Query) -> None:
    """UserError if a file is not what the flag says, so that another flag is right."""
    path = query.source
    if path is None or not os.path.isfile(path):
        return
    try:
        heard, seen = media.has_sound(path), media.has_pictures(path)
        right = "audio" if not seen else "image" if media.is_image(path) else "video"
    except media.MediaError:
        return  # told by what reads it
    lacks = "sound" if query.by == "audio" else "pictures"
    if heard != seen and not (heard if query.by == "audio" else seen):
        raise UserError(
            f"--{query.by}={path}: no {lacks} in it. To ask by it, give it as "
            f"--{right}={path}"
        )


def as_list(answer: Answer) -> str:
    """The hits as JSON."""
    return json_text.dump(answer.as_list(), indent=1)


def table(answer: Answer) -> str:
    """The hits as a table, and what is to be said of them."""
    if not answer.hits:
        return (
            "Nothing to be found: the index has no window of this side. By --output it "
            "is chosen whether what is seen or what is said is searched."
        )
    head = ["rank", "media", "span", "score"]
    calibrated = any(hit.precision is not None for hit in answer.hits)
    rows = [head + ["precision"] * calibrated]
    for hit in answer.hits:
        name = _one_line(os.path.basename(hit.media) or hit.recording_id)
        span = f"{clock(hit.start_s)}-{clock(hit.end_s)}"
        row = [str(hit.rank), name, span, f"{hit.score:.2f}"]
        if calibrated:
            row.append("" if hit.precision is None else f"{100 * hit.precision:.0f} %")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if name == "media" else cell.rjust(width)
            for name, cell, width in zip(rows[0], row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    if answer.match is False:
        lines.insert(0, f"Nothing fits. {answer.calibrated}")
    elif answer.match:
        lines.append(answer.calibrated)
    missing = {hit.missing: None for hit in answer.hits if hit.missing}
    lines += missing
    if answer.match is None:
        lines.append(answer.calibrated)
    return "\n".join(lines)


def _one_line(name: str) -> str:
    """A name in which what would break the line of a table is escaped."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in name)


def clock(seconds: float) -> str:
    """A time as m:ss, or h:mm:ss; the second it lies in."""
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
