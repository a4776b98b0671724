r"""Studies as Markdown, as CSV with a line a number, and as LaTeX (booktabs)."""

import csv
import io
from collections.abc import Mapping, Sequence

from avl_tf.comparing.studies import Cell, Column, Row
from avl_tf.evaluation import tables
from avl_tf.settings.evaluation import ResamplingConfig

_CSV = (
    *("study", "setting", "stage", "set", "metric", "mean", "deviation", "low", "high"),
    *("best", "p", "n_seeds", "n"),
)
_ESCAPES = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def markdown(
    rows: Sequence[Row], columns: Sequence[Column], chance: Sequence[float | None]
) -> str:
    """One table of all studies.

    Args:
        rows: from studies.rows.
        columns: theirs.
        chance: of each column, in percent; None where nothing is finished.
    """
    left = ["study", "setting"] if _has_studies(rows) else ["setting"]
    cells = [[*[""] * (len(left) - 1), "chance", *map(_chance, chance)]]
    for row in rows:
        names = [row.study, row.setting][-len(left) :]
        cells.append([*names, *map(_markdown_cell, row.cells)])
    header = [*left, *_titles(columns)]
    return tables.layout(header, cells, len(left))


def to_csv(
    rows: Sequence[Row],
    columns: Sequence[Column],
    chance: Sequence[float | None],
    n: Mapping[str, int],
) -> str:
    """A line a row and column; percentages in full. n: the queries of each set."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV)
    for column, level in zip(columns, chance, strict=True):
        if level is not None:
            of = [column.stage, column.set_name, column.key, level]
            rest = ["", "", "", "", "", "", n[column.set_name]]
            writer.writerow(["", "chance", *of, *rest])
    for row in rows:
        for column, cell in zip(columns, row.cells, strict=True):
            if cell:
                of = [column.stage, column.set_name, column.key, cell.mean]
                deviation = "" if cell.deviation is None else cell.deviation
                p = "" if cell.p is None else cell.p
                rest = [int(cell.is_best), p, cell.n_seeds, n[column.set_name]]
                writer.writerow(
                    [row.study, row.setting, *of, deviation, *cell.interval, *rest]
                )
    return out.getvalue()


def latex(
    rows: Sequence[Row],
    columns: Sequence[Column],
    chance: Sequence[float | None],
    note: str,
) -> str:
    r"""A tabular to be pasted or \input, with booktabs' rules; note: its caption."""
    n_left = 2 if _has_studies(rows) else 1
    left = ["Study", "Setting"][-n_left:]
    lines = [
        "% Needs \\usepackage{booktabs}.",
        *(f"% {line}" for line in note.splitlines() if line),
        f"\\begin{{tabular}}{{{'l' * n_left}{'r' * len(columns)}}}",
        "\\toprule",
        _latex_line([*left, *map(escaped, _titles(columns))]),
        "\\midrule",
        _latex_line([*[""] * (n_left - 1), "Chance", *map(_chance, chance)]),
    ]
    before = None
    for row in rows:
        if row.study != before:
            lines.append("\\midrule")
        names = [row.study if row.study != before else "", row.setting][-n_left:]
        cells = [_latex_cell(cell) for cell in row.cells]
        lines.append(_latex_line([*map(escaped, names), *cells]))
        before = row.study
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def escaped(text: str) -> str:
    """A text that LaTeX prints as it is."""
    text = "".join(_ESCAPES.get(character, character) for character in text)
    return text.replace(r"-\textgreater{}", r"$\rightarrow$")


def explanation(
    seeds: Sequence[int], columns: Sequence[Column], config: ResamplingConfig
) -> str:
    """What stands below such a table."""
    over = "of seed"
    if len(seeds) > 1:
        over = "mean ± standard deviation over the seeds"
    text = (
        f"Recall in percent, {over} {', '.join(map(str, seeds))} [95 % interval over "
        f"the clips: bootstrap, the same clips for all seeds]. Bold: the best of its "
        "study and column. p: of a two-sided paired randomisation test against the "
        "best over the clips (seeds in pairs, a clip swapped for all of them at once), "
        "times the number of the study's others (Bonferroni), each column by itself; "
        f"{config.resamples} resamples, seed {config.resampling_seed}. p and the "
        "interval tell of other clips"
    )
    return f"{text}, ± of other trainings." if len(seeds) > 1 else f"{text}."


def _has_studies(rows: Sequence[Row]) -> bool:
    return any(row.study for row in rows)


def _titles(columns: Sequence[Column]) -> list[str]:
    """What tells the columns apart: a stage or a set that all have is left out."""
    stages = {column.stage for column in columns}
    sets = {column.set_name for column in columns}
    return [
        " ".join(
            [column.stage] * (len(stages) > 1)
            + [column.set_name] * (len(sets) > 1)
            + [column.title]
        )
        for column in columns
    ]


def _chance(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _parts(cell: Cell) -> tuple[str, str, str]:
    """Mean, deviation, and the interval with p."""
    deviation = "" if cell.deviation is None else f" ± {cell.deviation:.1f}"
    low, high = cell.interval
    p = "" if cell.p is None else f" p={_p(cell.p)}"
    return f"{cell.mean:.1f}", deviation, f"[{low:.1f}, {high:.1f}]{p}"


def _p(value: float) -> str:
    return f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    mean, deviation, rest = _parts(cell)
    mark = "**" if cell.is_best else ""
    return f"{mark}{mean}{deviation}{mark} {rest}"


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    mean, deviation, rest = _parts(cell)
    mean = f"\\textbf{{{mean}}}" if cell.is_best else mean
    deviation = deviation.replace(" ± ", "$\\,\\pm\\,$")
    rest = rest.replace("p=", "$p$=")
    return f"{mean}{deviation} {{\\scriptsize {rest}}}"


def _latex_line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
