"""Charts of a report as PNGs, each for a light page and for a dark one."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avl_tf import metrics
from avl_tf.evaluation import tables
from avl_tf.evaluation.significance import recall_interval
from avl_tf.exhibits.page import Pair

# Okabe and Ito 2008, Color Universal Design: told apart with any eyes, seen on white
# and on black.
_COLOURS = dict(zip(metrics.CUTOFFS, ("#0072b2", "#e69f00", "#009e73"), strict=True))
_MEASURED = "#cc79a7"
# Background and ink of a light page and a dark one.
THEMES = (("#ffffff", "#222222"), ("#16181c", "#d8dade"))
_DPI = 120
_WIDTH_IN, _ROW_IN, _STAGE_IN, _CURVES_IN = 9.0, 2.4, 0.32, 3.2
# Where on the axis, recall in percent, and its interval.
CurvePoint = tuple[float, float, tuple[float, float] | None]


class Measured(NamedTuple):
    """A measurement of training: its name and its values by epoch."""

    name: str
    epochs: Sequence[float]
    values: Sequence[float]


def run_curves(
    history: Sequence[Mapping],
    stands: int,
    measured: Sequence[Measured],
) -> Pair:
    """Draws R@1/5/10 over the epochs, a panel a set and direction, and measurements.

    Bands are 95 % intervals over the clips, dotted lines are chance, the upright line
    is the epoch that stands for the run.

    Args:
        history: entries of recall.json.
        stands: index of the entry that stands.
        measured: what goes into the last row.
    """
    drawn = [
        (name, direction)
        for name, values in history[0]["sets"].items()
        for direction in tables.directions([values])
    ]
    n_rows = len(drawn) // 2 + bool(measured)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(n_rows, 2, squeeze=False)
        for panel, (name, direction) in zip(panels.flat, drawn, strict=False):
            _recall_panel(panel, history, stands, name, direction)
        lines, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(
            lines, labels, loc="outside upper right", ncols=len(lines), frameon=False
        )
        for panel, one in zip(panels[-1], measured, strict=False):
            panel.plot(one.epochs, one.values, color=_MEASURED, lw=1.2)
            _title(panel, one.name)
        for panel in panels.flat:
            panel.set_visible(panel.has_data())
        for panel in panels[-1]:
            panel.set_xlabel("epoch")

    return _both(draw, (_WIDTH_IN, _ROW_IN * n_rows))


def stage_points(rows: Sequence[Mapping], directions: Sequence[str]) -> Pair:
    """Draws R@10 of several stages as points with 95 % intervals, a panel a direction.

    Args:
        rows: of one set: "stage" ("random" is chance), "n", and metrics by their keys.
        directions: whose panels lie side by side.
    """

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(directions), sharey=True, squeeze=False)[0]
        for panel, direction in zip(panels, directions, strict=True):
            for at, row in enumerate(rows):
                _point(panel, at, row, f"{direction}/R@10")
            panel.set_xlim(left=0)
            _title(panel, f"{metrics.title(direction)} R@10 (%)")
        panels[0].set_yticks(range(len(rows)), [row["stage"] for row in rows])
        panels[0].invert_yaxis()

    return _both(draw, (_WIDTH_IN, 0.8 + _STAGE_IN * len(rows)))


def learning_curves(
    panels: Mapping[str, Mapping[str, Sequence[CurvePoint]]],
    chance: Mapping[str, float],
    axis: str,
    label: Callable[[float], str],
) -> Pair:
    """Draws recall over a number, a line a system, a panel a set and direction.

    Args:
        panels: by title: by system (number, percent, its interval or None), in order.
        chance: what a random ranking reaches, by the panels' titles; dotted.
        axis: what the numbers are; the axis is logarithmic.
        label: writes one of them.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    n_rows = -(-len(panels) // 2)

    def draw(figure: Figure) -> None:
        axes = figure.subplots(n_rows, 2, squeeze=False).flat
        for panel, (title, lines) in zip(axes, panels.items(), strict=False):
            for name, line in lines.items():
                _curve(panel, name, names.index(name), line)
            panel.axhline(chance[title], color="grey", lw=1, ls=":")
            places = sorted({at for line in lines.values() for at, _, _ in line})
            panel.set_xscale("log")
            panel.set_xticks(places, [label(at) for at in places])
            panel.minorticks_off()
            panel.set_xlabel(axis)
            panel.set_ylim(bottom=0)
            _title(panel, title)
        for panel in axes:
            panel.set_visible(panel.has_data())
        handles = [
            Line2D([], [], label=name, **_look(i)) for i, name in enumerate(names)
        ]
        figure.legend(
            handles=handles, loc="outside upper right", ncols=4, frameon=False
        )

    return _both(draw, (_WIDTH_IN, _CURVES_IN * n_rows))


def _curve(panel: Axes, name: str, place: int, line: Sequence[CurvePoint]) -> None:
    places, means, intervals = zip(*line, strict=True)
    # Side by side, where several systems have the same places.
    shifted = np.array(places) * (1 + 0.02 * place)
    panel.plot(shifted, means, label=name, **_look(place))
    for at, ends in zip(shifted, intervals, strict=True):
        if ends:
            panel.plot([at, at], ends, color=_look(place)["color"], lw=2, alpha=0.4)


def _look(place: int) -> dict[str, Any]:
    """How the line of a system looks, by its place among them."""
    colours, markers = (*_COLOURS.values(), _MEASURED, "#d55e00", "#56b4e9"), "os^Dv"
    colour = colours[place % len(colours)]
    return {
        "color": colour,
        "marker": markers[place % len(markers)],
        "ms": 4,
        "lw": 1.5,
    }


def _point(panel: Axes, at: int, row: Mapping, key: str) -> None:
    value, colour = row[key], "grey"
    if row["stage"] != "random":
        colour = _COLOURS[10]
        ends = recall_interval(value, row["n"])
        panel.plot(ends, [at, at], color=colour, lw=3, alpha=0.5)
    panel.plot(value, at, "o", color=colour)
    panel.annotate(
        f"{value:.1f}",
        (value, at),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize="x-small",
    )


def _recall_panel(
    panel: Axes, history: Sequence[Mapping], stands: int, name: str, direction: str
) -> None:
    epochs = [entry["epoch"] for entry in history]
    first = history[0]["sets"][name]
    n, chance = first["n"], metrics.chance_beside(first, [direction])
    for k, colour in _COLOURS.items():
        key = f"{direction}/R@{k}"
        values = np.array([entry["sets"][name][key] for entry in history])
        panel.fill_between(
            epochs, *recall_interval(values, n), color=colour, alpha=0.15, lw=0
        )
        panel.plot(epochs, values, color=colour, marker=".", lw=1.5, label=f"R@{k}")
        panel.axhline(chance[key], color=colour, lw=1, ls=":")
    panel.axvline(epochs[stands], color="grey", lw=0.8)
    panel.set_ylim(bottom=0)
    _title(panel, f"{name}: {metrics.title(direction)} recall (%), n={n}")


def _title(panel: Axes, text: str) -> None:
    panel.set_title(text, fontsize="medium", loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(visible=True, alpha=0.2)


def _both(draw: Callable[[Figure], None], size: tuple[float, float]) -> Pair:
    return Pair(*(_png(draw, size, *colours) for colours in THEMES))


def _png(
    draw: Callable[[Figure], None],
    size: tuple[float, float],
    background: str,
    ink: str,
) -> bytes:
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color")
    theme: dict = {**mpl.rcParamsDefault, "font.size": 9}
    theme |= dict.fromkeys((*inked, "ytick.color", "axes.titlecolor"), ink)
    theme |= dict.fromkeys(("figure.facecolor", "axes.facecolor"), background)
    out = io.BytesIO()
    # Figure alone draws without a window, whatever backend the user has set.
    with mpl.rc_context(theme):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
