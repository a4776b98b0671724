"""Retrieval results as Markdown tables that can be pasted into a paper."""

from collections.abc import Iterable, Mapping

from avl_tf import metrics

SET_COLUMNS = ("stage", "set")
_TITLES = {"a2v": "A->V", "v2a": "V->A"}


def markdown(rows: Iterable[Mapping], columns: tuple[str, ...]) -> str:
    """Formats rows of metrics.

    Args:
        rows: mappings with the columns' texts, "n", and metrics by their keys.
        columns: what stands left of the metrics.

    Returns:
        A Markdown table: R@1/5/10 in percent and MedR of both directions, and n.
    """
    names = [f"R@{k}" for k in metrics.CUTOFFS] + ["MedR"]
    keys = [f"{d}/{name}" for d in metrics.DIRECTIONS for name in names]
    titles = [f"{_TITLES[k[:3]]} {k[4:]}" for k in keys]
    cells = [
        [str(row[column]) for column in columns]
        + [f"{row[key]:.1f}" for key in keys]
        + [str(row["n"])]
        for row in rows
    ]
    header = [*columns, *titles, "n"]
    widths = [max(3, *map(len, column)) for column in zip(header, *cells, strict=True)]
    n_left = len(columns)

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
