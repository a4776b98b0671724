"""Recall over how much was trained on: a chart, a table, and TensorBoard's scalars."""

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow as tf

from avl_tf import files, metrics
from avl_tf.comparing import seeds
from avl_tf.evaluation import tables
from avl_tf.reporting import charts
from avl_tf.wording import span

K = 10


@dataclasses.dataclass(frozen=True)
class Point:
    """Recall of a system on a set, trained on so much; percentages by seed."""

    set_name: str
    system: str
    direction: str
    fraction: float
    hours: float
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return seeds.mean_and_deviation(self.values)[0]

    @property
    def interval(self) -> tuple[float, float] | None:
        """As seeds.interval."""
        return seeds.interval(self.values)


def points(rows: Sequence[Mapping]) -> list[Point]:
    """Gathers rows of one seed each: system, language, fraction, hours and metrics."""
    found: dict[tuple, list[float]] = {}
    for direction in tables.directions(rows):
        for row in rows:
            named = [row[each] for each in ("language", "system", "fraction", "hours")]
            key = (named[0], named[1], direction, *named[2:])
            found.setdefault(key, []).append(row[f"{direction}/R@{K}"])
    made = [Point(*(*key, tuple(values))) for key, values in found.items()]
    return sorted(made, key=lambda point: point.hours)


def write(folder: str, found: Sequence[Point], chance: Mapping[str, float]) -> str:
    """Writes curve.png, curve.md and TensorBoard's scalars; returns curve.md's text.

    The scalars are in a folder a system, FOLDER/curve/SYSTEM, as SET/A->V R@10, with
    the ends of its interval beside it; their step is seconds of speech.

    Args:
        folder: of the comparison.
        found: from points.
        chance: recall at K of a random ranking, by set.
    """
    panels: dict[str, dict[str, list[Point]]] = {}
    levels = {}
    for point in found:
        title = f"{point.set_name}: {metrics.title(point.direction)} R@{K} (%)"
        panels.setdefault(title, {}).setdefault(point.system, []).append(point)
        levels[title] = chance[point.set_name]
    picture = charts.learning_curves(
        {
            title: {
                name: [(p.hours, p.mean, p.interval) for p in line]
                for name, line in lines.items()
            }
            for title, lines in panels.items()
        },
        levels,
    )
    files.write_bytes(files.join(folder, "curve.png"), picture.light)
    _log(folder, found)
    text = _text(found)
    files.write_text(files.join(folder, "curve.md"), text + "\n")
    return text


def _text(found: Sequence[Point]) -> str:
    by_row: dict[tuple, dict[str, Point]] = {}
    for point in found:
        key = (point.set_name, point.system, point.fraction, point.hours)
        by_row.setdefault(key, {})[point.direction] = point
    directions = list(dict.fromkeys(point.direction for point in found))
    cells = [
        [set_name, system, f"{fraction:g}", span(3600 * hours)]
        + [_told(of_row[direction]) for direction in directions]
        for (set_name, system, fraction, hours), of_row in by_row.items()
    ]
    # A set's systems each in one piece, from little to much.
    order = list(dict.fromkeys((cell[0], cell[1]) for cell in cells))
    cells.sort(key=lambda cell: (cell[0], order.index((cell[0], cell[1]))))
    titles = [f"{metrics.title(direction)} R@{K}" for direction in directions]
    n = len(found[0].values)
    how = f"mean [95 % interval by Student's t] over {n} seeds" if n > 1 else "one seed"
    note = f"R@{K} in percent over how much was trained on: {how}."
    table = tables.layout(["set", "system", "fraction", "speech", *titles], cells, 2)
    return f"{table}\n\n{note}"


def _told(point: Point) -> str:
    if point.interval is None:
        return f"{point.mean:.1f}"
    low, high = point.interval
    return f"{point.mean:.1f} [{low:.1f}, {high:.1f}]"


def _log(folder: str, found: Sequence[Point]) -> None:
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
                    tf.summary.scalar(name, value, step=round(3600 * point.hours))
        writer.close()
