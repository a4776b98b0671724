"""A page of matchmaps: each image with a heat map that moves with its caption."""

import importlib.resources
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from avl_tf.exhibits import page
from avl_tf.exhibits.page import Data, Heading, Markup, Paragraph, Part
from avl_tf.localizing import Matched
from avl_tf.wording import counted

_ABOUT = (
    "The brighter a place, the better what is heard at that moment fits it. The curve "
    "is the best place's value over time, shaded where it reaches the threshold. Play "
    "a caption, or move its slider by mouse or arrow keys. A step is heard within its "
    "surroundings, so that spans are wider than words. Boxes are in parts of the "
    "image's sides."
)
_STILLS = 6
_WIDTH, _HEIGHT = 600, 80  # of the curve


def html(title: str, facts: Mapping[str, str], matched: Sequence[Matched]) -> str:
    """Makes the page of some clips, under a table of facts."""
    parts: list[Part] = [Paragraph(_ABOUT)]
    parts += [Paragraph(f"{name}: {value}") for name, value in facts.items()]
    for number, one in enumerate(matched):
        parts += [Heading(one.clip_id), Markup(_section(number, one))]
    parts.append(Data("matchmaps", [_data(one) for one in matched]))
    return page.html(title, parts, _file("matchmaps.js"), _file("matchmaps.css"))


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")


def _heat(one: Matched) -> np.ndarray:
    """The matchmap from 0, of no match, to 255, the highest of the clip."""
    highest = max(float(one.matchmap.max()), 1e-30)
    return np.round(255 * np.clip(one.matchmap / highest, 0, 1)).astype(int)


def _data(one: Matched) -> dict[str, Any]:
    height, width, _ = one.matchmap.shape
    heat = _heat(one).transpose(2, 0, 1)
    return {
        "height": height,
        "width": width,
        "start_s": one.start_s,
        "step_s": one.step_s,
        "heat": heat.reshape(len(heat), -1).tolist(),
    }


def _section(number: int, one: Matched) -> str:
    n_steps = one.matchmap.shape[2]
    best = int(one.matchmap.max(axis=(0, 1)).argmax())
    label = escape(one.clip_id)
    player = ""
    if one.player:
        player = (
            f'<audio src="{escape(one.player)}" controls preload="none" data-player '
            f'aria-label="{label}"></audio>'
        )
    spans = "".join(
        f"<li>{start:.2f}-{end:.2f} s: {one.region(span)}</li>"
        for span, (start, end) in ((span, one.times(span)) for span in one.spans)
    )
    words = ", ".join(f"{text} ({start:.1f} s)" for start, _, text in one.words)
    return (
        f'<section class="matchmap" data-number="{number}"><div class="seen">'
        f'<img src="{escape(one.frame)}" alt="The image of {label}"><canvas></canvas>'
        f'</div><div class="heard">{player}<label>Step <input type="range" min="0" '
        f'max="{n_steps - 1}" value="{best}"><output></output></label>'
        f"{_curve(one)}<p>{counted(len(one.spans), 'span')}, similarity "
        f"{one.score:.4g}. {escape(words)}</p><ul>{spans}</ul></div>"
        f'<div class="stills">{_stills(one)}</div></section>'
    )


def _curve(one: Matched) -> str:
    values = one.matchmap.max(axis=(0, 1))
    highest, lowest = max(float(values.max()), 1e-30), min(0.0, float(values.min()))
    step = _WIDTH / len(values)
    heights = _HEIGHT * (1 - (values - lowest) / (highest - lowest))
    points = " ".join(
        f"{step * (t + 0.5):.1f},{y:.1f}" for t, y in enumerate(heights.tolist())
    )
    shades = "".join(
        f'<rect x="{step * span.first:.1f}" y="0" height="{_HEIGHT}" '
        f'width="{step * (span.last + 1 - span.first):.1f}"/>'
        for span in one.spans
    )
    return (
        f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'preserveAspectRatio="none" aria-label="The best place\'s value over time">'
        f'{shades}<polyline points="{points}"/><line y1="0" y2="{_HEIGHT}"/></svg>'
    )


def _stills(one: Matched) -> str:
    """The heat map at some steps, for what runs no script, and for print."""
    height, width, n_steps = one.matchmap.shape
    heat = _heat(one)
    chosen = np.unique(np.linspace(0, n_steps - 1, _STILLS).round().astype(int))
    found = []
    for step in chosen.tolist():
        cells = "".join(
            f'<rect x="{column}" y="{row}" width="1" height="1" '
            f'fill-opacity="{heat[row, column, step] / 340:.2f}"/>'
            for row, column in np.ndindex(height, width)
        )
        at = f"{one.start_s + step * one.step_s:.2f} s"
        found.append(
            f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{at}">'
            f'<image href="{escape(one.frame)}" width="{width}" height="{height}" '
            f'preserveAspectRatio="none"/>{cells}</svg><figcaption>{at}</figcaption>'
            "</figure>"
        )
    return "".join(found)
