"""Recall over hours of speech, or another number: chart, table, TensorBoard."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from avl_tf import files, metrics
from avl_tf.comparing import seeds
from avl_tf.evaluation import tables
from avl_tf.reporting import charts
from avl_tf.wording import span

K = 10


@dataclasses.dataclass(frozen=True)
class Scale:
    """What recall is drawn over.

    Attributes:
        axis: what stands below the chart.
        titles: of the table's columns for it.
        label: how a value is written at the axis.
        step: TensorBoard's, a whole number, of a value.
    """

    axis: str
    titles: tuple[str, ...]
    label: Callable[[float], str]
    step: Callable[[float], int]


# Point.at is hours; Point.cells are the fraction and the time.
SPEECH = Scale(
    "speech trained on",
    ("fraction", "speech"),
    lambda hours: span(3600 * hours),
    lambda hours: round(3600 * hours),
)


@dataclasses.dataclass(frozen=True)
class Point:
    """Recall of a system on a set at a place of the scale; percentages by seed.

    cells: what the table has for the place. over_clips: an interval to be shown where
    a single seed gives none.
    """

    set_name: str
    system: str
    direction: str
    at: float
    cells: tuple[str, ...]
    values: tuple[float, ...]
    over_clips: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return seeds.mean_and_deviation(self.values)[0]

    @property
    def interval(self) -> tuple[float, float] | None:
        """As seeds.interval; of one seed over the clips, if that is known."""
        return seeds.interval(self.values) or self.over_clips


def of_flag(flag: str, found: Sequence[Point]) -> Scale:
    """The scale of a flag's values; steps are whole multiples, as percent of fractions.

    Args:
        flag: its name.
        found: the points, by whose values the multiple is chosen.
    """
    most = max(len(f"{p.at:.6f}".rstrip("0").partition(".")[2]) for p in found)
    return Scale(f"--{flag}", (flag,), "{:g}".format, lambda at: round(at * 10**most))


def write(
    folder: str, found: Sequence[Point], chance: Mapping[str, float], scale: Scale
) -> str:
    """Writes curve.png, curve.md and TensorBoard's scalars; returns curve.md's text.

    The scalars are in a folder a system, FOLDER/curve/SYSTEM, as SET/A->V R@10, with
    the ends of its interval beside it; their step is the scale's.

    Args:
        folder: of the comparison.
        found: the points, in any order.
        chance: recall at K of a random ranking, by set.
        scale: what is drawn over.
    """
    found = sorted(found, key=lambda point: point.at)
    panels: dict[str, dict[str, list[Point]]] = {}
    levels = {}
    for point in found:
        title = f"{point.set_name}: {metrics.title(point.direction)} R@{K} (%)"
        panels.setdefault(title, {}).setdefault(point.system, []).append(point)
        levels[title] = chance[point.set_name]
    picture = charts.learning_curves(
        {
            title: {
                name: [(p.at, p.mean, p.interval) for p in line]
                for name, line in lines.items()
            }
            for title, lines in panels.items()
        },
        levels,
        scale.axis,
        scale.label,
    )
    files.write_bytes(files.join(folder, "curve.png"), picture.light)
    _log(folder, found, scale)
    text = _text(found, scale)
    files.write_text(files.join(folder, "curve.md"), text + "\n")
    return text


def _text(found: Sequence[Point], scale: Scale) -> str:
    by_row: dict[tuple, dict[str, Point]] = {}
    for point in found:
        key = (point.set_name, point.system, point.cells)
        by_row.setdefault(key, {})[point.direction] = point
    directions = list(dict.fromkeys(point.direction for point in found))
    cells = [
        [set_name, system, *place]
        + [_told(of_row[direction]) for direction in directions]
        for (set_name, system, place), of_row in by_row.items()
    ]
    # A set's systems each in one piece, from little to much.
    order = list(dict.fromkeys((cell[0], cell[1]) for cell in cells))
    cells.sort(key=lambda cell: (cell[0], order.index((cell[0], cell[1]))))
    titles = [f"{metrics.title(direction)} R@{K}" for direction in directions]
    n = len(found[0].values)
    how = "one seed"
    if n > 1:
        how = f"mean [95 % interval by Student's t] over {n} seeds"
    elif found[0].over_clips:
        how = "one seed [95 % interval over the clips]"
    note = f"R@{K} in percent over {scale.axis}: {how}."
    table = tables.layout(["set", "system", *scale.titles, *titles], cells, 2)
    return f"{table}\n\n{note}"


def _told(point: Point) -> str:
    if point.interval is None:
        return f"{point.mean:.1f}"
    low, high = point.interval
    return f"{point.mean:.1f} [{low:.1f}, {high:.1f}]"


def _log(folder: str, found: Sequence[Point], scale: Scale) -> None:
    """Writes the scalars anew: those of an earlier call are gone."""
    below = files.join(folder, "curve")
    if tf.io.gfile.exists(below):
        tf.io.gfile.rmtree(below)
    for system in dict.fromkeys(point.system for point in found):
        writer = tf.summary.create_file_writer(files.join(below, system))
        with writer.as_default():
            for point in found:
                if point.system != system:
                    continue
                tag = f"{point.set_name}/{metrics.title(point.direction)} R@{K}"
                values = {tag: point.mean}
                if point.interval:
                    values[f"{tag} low"], values[f"{tag} high"] = point.interval
                for name, value in values.items():
                    tf.summary.scalar(name, value, step=scale.step(point.at))
        writer.close()
