"""One HTML file that holds all it shows: tables, pictures, text."""

import base64
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from avl_tf.reporting.charts import Pair

_HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --paper: #ffffff; --ink: #222222; --line: #d0d4da; --soft: #667; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #16181c; --ink: #d8dade; --line: #3a3e46; --soft: #99a; }}
}}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  text-align: right; white-space: nowrap; }}
th.text, td.text {{ text-align: left; }}
td small {{ display: block; color: var(--soft); }}
tr.chance td {{ color: var(--soft); }}
img {{ max-width: min(100%, 60rem); height: auto; }}
pre {{ overflow-x: auto; font-size: .8rem; }}
.warning {{ border-left: 4px solid #e69f00; padding-left: .8rem; }}
figure {{ margin: 1rem 0; }}
figcaption, summary {{ color: var(--soft); }}
</style>
"""


class Heading(NamedTuple):
    """What follows is of its own: a stage."""

    text: str


class Paragraph(NamedTuple):
    """A text; a warning is set off."""

    text: str
    warning: bool = False


class Picture(NamedTuple):
    """name: of its PNG. caption: what it shows, for those who do not see it too."""

    name: str
    pair: Pair
    caption: str


class Table(NamedTuple):
    """cells: (text, small text below it); the first n_left columns are texts."""

    header: Sequence[str]
    rows: Sequence[Sequence[tuple[str, str]]]
    n_left: int
    is_chance: Sequence[bool]


class Folded(NamedTuple):
    """A text that is opened by a click: to be copied, or to look something up."""

    title: str
    text: str


Part = Heading | Paragraph | Picture | Table | Folded


def html(title: str, parts: Sequence[Part]) -> str:
    """Makes the page. Texts are shown as they are: nothing in them is markup."""
    body = "\n".join(map(_part, parts))
    return f"{_HEAD.format(title=escape(title))}<h1>{escape(title)}</h1>\n{body}\n"


def _part(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Paragraph(text, warning):
            kind = ' class="warning"' if warning else ""
            return f"<p{kind}>{escape(text)}</p>"
        case Picture(_, pair, caption):
            dark, light = (_data(png) for png in (pair.dark, pair.light))
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
    return _table(part)


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
    for row, chance in zip(table.rows, table.is_chance, strict=True):
        cells = [
            escape(text) + (f"<small>{escape(small)}</small>" if small else "")
            for text, small in row
        ]
        lines.append(line(cells, "td", ' class="chance"' if chance else ""))
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
