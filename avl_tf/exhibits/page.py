"""One HTML file that needs nothing from elsewhere: tables, pictures, texts, players.

It opens from a folder, without a server or a network. Pictures are in it, frames and
media of cards beside it.
"""

import base64
import importlib.resources
import json
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

_GENERATOR = '<meta name="generator" content="avl_tf">'
_HEAD = f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
{_GENERATOR}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
"""


class Heading(NamedTuple):
    """What follows is of its own: a stage. level: 2, or 3 below it. anchor: its id."""

    text: str
    level: int = 2
    anchor: str = ""


class Paragraph(NamedTuple):
    """A text; a warning is set off."""

    text: str
    warning: bool = False


class Pair(NamedTuple):
    """A picture as PNG, for a light page and for a dark one."""

    light: bytes
    dark: bytes


class Picture(NamedTuple):
    """name: of its PNG. caption: what it shows, for those who do not see it too."""

    name: str
    pair: Pair
    caption: str


class Table(NamedTuple):
    """cells: (text, small text below it); the first n_left columns are texts.

    is_chance: rows that are set back. anchors: where the first cell of a row leads to,
    the anchor of a heading.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[tuple[str, str]]]
    n_left: int
    is_chance: Sequence[bool]
    anchors: Sequence[str] = ()


class Folded(NamedTuple):
    """A text that is opened by a click: to be copied, or to look something up."""

    title: str
    text: str


class Card(NamedTuple):
    """A moment to be seen and heard.

    Attributes:
        title: a line.
        lines: more, in small letters.
        player: way from the page to a video or a sound; "" has none.
        frame: way to its picture; "" has none.
        start_s, end_s: the span of the player's file that is played; None is all.
        marked: set off, as the right one.
    """

    title: str
    lines: Sequence[str] = ()
    player: str = ""
    frame: str = ""
    start_s: float | None = None
    end_s: float | None = None
    marked: bool = False


class Cards(NamedTuple):
    """Cards side by side. label: what they are, for those who do not see them."""

    cards: Sequence[Card]
    label: str


class Data(NamedTuple):
    """What a script reads: JSON.parse(document.getElementById(name).textContent)."""

    name: str
    value: Any


class Markup(NamedTuple):
    """HTML as it is: who makes it escapes what comes from elsewhere (html.escape)."""

    html: str


Part = (
    Heading | Paragraph | Picture | Table | Folded | Card | Cards | Data | Markup
)  # fmt: skip


def html(title: str, parts: Sequence[Part], script: str = "", style: str = "") -> str:
    """Makes the page. Texts are shown as they are: nothing in them is markup.

    Args:
        title: of the page.
        parts: in their order.
        script: JavaScript of the page's own, run at the end; without data, which are
            for Data.
        style: CSS of the page's own.
    """
    body = "\n".join(map(_part, parts))
    plays = f"<script>{_file('page.js')}</script>\n" if "data-player" in body else ""
    own = f"<script>\n{script}</script>\n" if script else ""
    return (
        f"{_HEAD}<title>{escape(title)}</title>\n"
        f"<style>\n{_file('page.css')}{style}</style>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n{plays}{own}"
    )


def is_ours(path: str) -> bool:
    """Whether a file is a page of html."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")


def _part(part: Part) -> str:
    match part:
        case Heading(text, level, anchor):
            place = f' id="{escape(anchor)}"' if anchor else ""
            return f"<h{level}{place}>{escape(text)}</h{level}>"
        case Paragraph(text, warning):
            kind = ' class="warning"' if warning else ""
            return f"<p{kind}>{escape(text)}</p>"
        case Picture(_, pair, caption):
            dark, light = (_png(png) for png in (pair.dark, pair.light))
            return (
                f'<figure><picture><source media="(prefers-color-scheme: dark)" '
                f'srcset="{dark}"><img src="{light}" alt="{escape(caption)}"></picture>'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
        case Folded(heading, text):
            return (
                f"<details><summary>{escape(heading)}</summary>"
                f"<pre>{escape(text)}</pre></details>"
            )
        case Card():
            return _part(Cards([part], part.title))
        case Cards(cards, label):
            items = "\n".join(map(_card, cards))
            return f'<ul class="cards" aria-label="{escape(label)}">\n{items}\n</ul>'
        case Data(name, value):
            # A text may hold "</script>"; as an escape, "<" is safe in the element.
            text = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
            return (
                f'<script type="application/json" id="{escape(name)}">{text}</script>'
            )
        case Markup(text):
            return text
    return _table(part)


def _card(card: Card) -> str:
    kind = ' class="marked"' if card.marked else ""
    frame = player = ""
    named = f'aria-label="{escape(card.title)}"'
    if card.player:
        span = "".join(
            f' data-{name}="{value:g}"'
            for name, value in (("start", card.start_s), ("end", card.end_s))
            if value is not None
        )
        given = f'src="{escape(card.player)}"{span} data-player controls {named}'
        if card.player.endswith(".mp4"):
            poster = f' poster="{escape(card.frame)}"' if card.frame else ""
            player = f'<video {given} preload="none"{poster}></video>'
        else:
            player = f'<audio {given} preload="none"></audio>'
    if card.frame and not player.startswith("<video"):
        frame = f'<img src="{escape(card.frame)}" alt="" loading="lazy">'
    lines = "".join(f"<p>{escape(line)}</p>" for line in (card.title, *card.lines))
    return f"<li{kind}>{frame}{player}{lines}</li>"


def _table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str, kind: str = "") -> str:
        made = [
            f'<{tag} class="text">{cell}</{tag}>'
            if place < table.n_left
            else f"<{tag}>{cell}</{tag}>"
            for place, cell in enumerate(cells)
        ]
        return f"<tr{kind}>{''.join(made)}</tr>"

    lines = [line(list(map(escape, table.header)), "th")]
    for number, (row, chance) in enumerate(
        zip(table.rows, table.is_chance, strict=True)
    ):
        cells = [
            escape(text) + (f"<small>{escape(small)}</small>" if small else "")
            for text, small in row
        ]
        if table.anchors:
            cells[0] = f'<a href="#{escape(table.anchors[number])}">{cells[0]}</a>'
        lines.append(line(cells, "td", ' class="chance"' if chance else ""))
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _png(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
