"""The rows of the benchmark: their ratio, their file and their table."""

import dataclasses
import json
import os
import statistics
from collections.abc import Iterable, Sequence

from avl_tf.errors import UserError
from avl_tf.manifest import write_text

RESULTS = os.path.join(os.path.dirname(__file__), "results.json")
HEADER = ("name", "ours", "other", "other_name", "unit", "ratio")
_WITH_AVX2 = "ratio, AVX2"
_NUMBERS = ("ours", "other", "ratio", _WITH_AVX2)
# Beyond it the two runs of a row say different things.
MOST_APART = 1.15
_MARK = " *"


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of ours beside the same figure of an alternative.

    note: the ranges of the repeats, what was checked and what else to know of the row;
    it is printed, and not kept in results.json. ours_repeats, other_repeats: the
    figures that ours and other are the medians of, in their order; device: what ours
    was computed on, if it was told.
    """

    name: str
    ours: float
    other: float
    other_name: str
    unit: str
    note: str = ""
    ours_repeats: tuple[float, ...] = ()
    other_repeats: tuple[float, ...] = ()
    device: str = ""

    @property
    def apart(self) -> float | None:
        """How many times apart the row's two runs are, of the side that moved more.

        A run is the median of the first half of the repeats, and of the second; None
        where there are no two.
        """
        both = (self.ours_repeats, self.other_repeats)
        found = [apart(repeats) for repeats in both if len(repeats) > 1]
        return max(found, default=None)

    @property
    def ratio(self) -> float:
        """How many times better ours is: rates should be high, the rest low."""
        is_rate = self.unit.endswith(("/s", "/CPU-s"))
        return self.ours / self.other if is_rate else self.other / self.ours

    def to_json(self) -> dict:
        """Returns the row as results.json holds it."""
        both = (self.ours_repeats, self.other_repeats)
        ranges = [[min(of), max(of)] if of else None for of in both]
        return {
            **{key: getattr(self, key) for key in HEADER},
            "repeats": [max(1, len(of)) for of in both],
            "range": ranges,
            "apart": self.apart,
            "device": self.device,
        }


def apart(repeats: Sequence[float]) -> float:
    """How many times the medians of the first and the second half are apart."""
    half = len(repeats) // 2
    low, high = sorted(map(statistics.median, (repeats[:half], repeats[-half:])))
    return high / low


def write(path: str, rows: Iterable[dict]) -> None:
    """Writes rows (of Row.to_json) as a JSON list, whole or not at all."""
    write_text(path, json.dumps(list(rows), indent=1) + "\n")


def read(path: str) -> list[dict]:
    """Reads what write wrote.

    Raises:
        FileNotFoundError: nothing has been measured yet.
        ValueError: the file is not a list of rows.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: not there. `make bench` writes it.")
    with open(path) as stream:
        try:
            found = json.load(stream)
            return [{key: row[key] for key in HEADER} | row for row in found]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not a file of results ({error!r}). Delete it and run "
                "`make bench`."
            ) from error


def merged(before: Iterable[dict], new: Iterable[dict]) -> list[dict]:
    """The rows of two runs, in order; of two with the same name the newer."""
    by_name = {row["name"]: row for row in before}
    by_name.update({row["name"]: row for row in new})
    return list(by_name.values())


def table(rows: Iterable[dict], with_avx2: Iterable[dict] = ()) -> str:
    """Formats rows as a Markdown table; below, where they are from, and which moved.

    with_avx2: rows measured with AVX-512 hidden; if any, their ratios are a column.
    """
    rows, hidden = list(rows), {row["name"]: row for row in with_avx2}
    cells = []
    for row in rows:
        cell = [brief(row[key]) if key in _NUMBERS else row[key] for key in HEADER]
        cell[0] += _mark(row)
        if hidden:
            other = hidden.get(row["name"])
            cell.append(brief(other["ratio"]) + _mark(other) if other else "")
        cells.append(cell)
    moved = any(_MARK in text for cell in cells for text in cell)
    header = (*HEADER, _WITH_AVX2) if hidden else HEADER
    text = markdown(header, cells, right=_NUMBERS) + _origin(rows)
    if any(row.get("quick") for row in rows):
        text += "\n\nOf tiny sizes (--quick): such figures say nothing."
    elif moved:
        text += (
            f"\n\n*: its two runs, the halves of its repeats, are more than "
            f"{100 * MOST_APART - 100:.0f} % apart. Measure again on a quiet machine."
        )
    return text


def _origin(rows: Sequence[dict]) -> str:
    """On what rows were measured, and how busy it was before their groups."""
    loads: dict[str, list[float]] = {}
    for row in rows:
        if "machine" in row:
            of = row["machine"]
            name = f"{of['cpu']} ({of['instruction_set']}), {of['cores']} cores"
            loads.setdefault(name, []).append(row["load"][0])
    lines = [
        f"{name}; load before a group {min(of):.1f} to {max(of):.1f}."
        for name, of in loads.items()
    ]
    if len(lines) > 1:
        lines.insert(0, "Of several machines, whose rows do not compare:")
    return "".join(f"\n\n{line}" for line in lines)


def _mark(row: dict) -> str:
    return _MARK if (row.get("apart") or 1) > MOST_APART else ""


def markdown(
    header: Sequence[str], cells: Iterable[Sequence[str]], right: Sequence[str]
) -> str:
    """Formats a Markdown table; the columns named in right end at the right."""
    cells = list(cells)
    columns = zip(header, *cells, strict=True)
    widths = [max(3, *(len(cell) for cell in column)) for column in columns]
    at_right = [title in right for title in header]

    def line(row: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, at_right, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + ":" if is_right else "-" * width
        for width, is_right in zip(widths, at_right, strict=True)
    ]
    return "\n".join([line(header), line(rule), *(line(row) for row in cells)])


def brief(value: float) -> str:
    """A number with three digits that count, and never an exponent for a large one."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
