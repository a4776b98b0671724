"""Retrieval results as Markdown tables that can be pasted into a paper."""

from collections.abc import Iterable, Mapping, Sequence

from avl_tf import metrics
from avl_tf.evaluation.significance import Difference

SET_COLUMNS = ("stage", "set")


def markdown(rows: Iterable[Mapping], columns: tuple[str, ...]) -> str:
    """Formats rows of metrics.

    Args:
        rows: mappings with the columns' texts, "n", and metrics by their keys; what a
            row does not have is "-".
        columns: what stands left of the metrics.

    Returns:
        A Markdown table: R@1/5/10 in percent and MedR of each direction, and n. With
        more than two directions, as of several languages, each has a line of its own.
    """
    rows, columns = by_query(list(rows), columns)
    names = [f"R@{k}" for k in metrics.CUTOFFS] + ["MedR"]
    keys = [f"{d}/{name}" for d in directions(rows) for name in names]
    cells = [
        [str(row[column]) for column in columns]
        + [_number(key, row[key]) if key in row else "-" for key in keys]
        + [str(row["n"])]
        for row in rows
    ]
    titles = (" ".join(_titles(key)).strip() for key in keys)
    header = [*columns, *titles, "n"]
    return layout(header, cells, len(columns))


def by_query(
    rows: Sequence[Mapping], columns: tuple[str, ...]
) -> tuple[list[Mapping], tuple[str, ...]]:
    """Gives each direction a row of its own, if there are more than two.

    Args:
        rows: as of markdown; by the metrics' keys may be "chance" and "intervals" too.
        columns: what stands left of the metrics.

    Returns:
        The rows, whose metrics then have an empty direction ("/R@1"), and the columns,
        with "query" behind them.
    """
    if len(directions(rows)) <= len(metrics.DIRECTIONS):
        return list(rows), columns

    def of(direction: str, row: Mapping) -> dict:
        start = f"{direction}/"
        return {
            k.removeprefix(direction): of(direction, v) if isinstance(v, Mapping) else v
            for k, v in row.items()
            if k.startswith(start) or "/" not in k
        }

    split: list[Mapping] = [
        {**of(each, row), "query": metrics.title(each)}
        for row in rows
        for each in directions([row])
    ]
    return split, (*columns, "query")


def history_rows(history: Sequence[Mapping]) -> list[dict]:
    """The rows of a training's evaluations: chance on each set, then every epoch."""
    first = history[0]["sets"]
    chance = [
        {"stage": "chance", "set": name, **metrics.chance_beside(values, of)}
        for name, values in first.items()
        for of in [directions([values])]
    ]
    return chance + [
        {"stage": f"epoch {entry['epoch']}", "set": name, **values}
        for entry in history
        for name, values in entry["sets"].items()
    ]


def intervals(rows: Iterable[Mapping]) -> str:
    """Formats every metric with its confidence interval, a line a metric.

    Args:
        rows: mappings with "set", "n", metrics by their keys, and by the same keys
            "intervals", (low, high), and "chance".
    """
    rows, columns = by_query(list(rows), ("set",))
    of_rows = directions(rows)
    cells = [
        [*(row[column] for column in columns), name]
        + [
            f"{_number(key, row[key])} {_span(key, row['intervals'][key])}"
            for key in (f"{direction}/{name}" for direction in of_rows)
        ]
        + [_number(f"{of_rows[0]}/{name}", row["chance"][f"{of_rows[0]}/{name}"])]
        + [str(row["n"])]
        for row in rows
        for name in metrics.METRICS
    ]
    titles = [metrics.title(each) or "value" for each in of_rows]
    header = [*columns, "metric", *titles, "chance", "n"]
    return layout(header, cells, len(columns) + 1)


def slices(rows: Iterable[Mapping]) -> str:
    """Formats the metrics of slices, a line a slice and direction.

    Args:
        rows: as of intervals, with "slice" too.
    """
    cells = [
        [row["set"], row["slice"].replace("|", "\\|"), metrics.title(direction)]
        + [_number("", row[f"{direction}/R@{k}"]) for k in metrics.CUTOFFS]
        + [_span("", row["intervals"][f"{direction}/R@10"])]
        + [_number("", row["chance"][f"{direction}/R@10"])]
        + [_number("", row[f"{direction}/MedR"]), str(row["n"])]
        for row in rows
        for direction in directions([row])
    ]
    recalls = [f"R@{k}" for k in metrics.CUTOFFS]
    header = ["set", "slice", "query", *recalls, "R@10, 95 % interval"]
    return layout([*header, "R@10 by chance", "MedR", "n"], cells, 3)


def comparison(rows: Iterable[Mapping]) -> str:
    """Formats the difference of two models, a line a metric and direction.

    Args:
        rows: mappings with "set", "n", and by the metrics' keys "differences", each a
            Difference, and "chance".
    """
    cells = []
    for row in rows:
        differences: Mapping[str, Difference] = row["differences"]
        for key, of in differences.items():
            cells.append(
                [row["set"], *_titles(key)]
                + [_number(key, value) for value in (of.a, of.b)]
                + [_number(key, of.difference, "+"), _span(key, of.interval, "+")]
                + [f"{of.p_value:.4f}" if of.p_value >= 1e-4 else "<0.0001"]
                + [_number(key, row["chance"][key]), str(row["n"])]
            )
    header = ["set", "query", "metric", "A", "B", "A - B", "95 % interval", "p"]
    return layout([*header, "chance", "n"], cells, 3)


def directions(rows: Sequence[Mapping]) -> list[str]:
    """The directions whose metrics rows hold, each once."""
    last = f"/{metrics.METRICS[-1]}"
    held = (k.removesuffix(last) for row in rows for k in row if k.endswith(last))
    return list(dict.fromkeys(held))


def _titles(key: str) -> tuple[str, str]:
    """a2v/R@1 as A->V and R@1."""
    direction, _, name = key.partition("/")
    return metrics.title(direction), name


def _number(key: str, value: float, sign: str = "") -> str:
    return format(value, f"{sign}.{3 if key.endswith('MRR') else 1}f")


def _span(key: str, interval: tuple[float, float], sign: str = "") -> str:
    return f"[{', '.join(_number(key, end, sign) for end in interval)}]"


def layout(header: list[str], cells: list[list[str]], n_left: int) -> str:
    """A Markdown table whose first n_left columns are texts, the others numbers."""
    widths = [max(3, *map(len, column)) for column in zip(header, *cells, strict=True)]

    def line(row: list[str]) -> str:
        padded = [
            cell.ljust(width) if i < n_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if i < n_left else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    return "\n".join([line(header), line(rule), *map(line, cells)])
