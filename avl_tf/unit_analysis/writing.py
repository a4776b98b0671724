"""The files of an analysis of units: tables, a page, a TextGrid of each recording."""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from avl_tf import exhibits
from avl_tf.discovery import tables
from avl_tf.exhibits import page, texts
from avl_tf.exhibits.spans import Span
from avl_tf.settings.units import UnitsConfig
from avl_tf.unit_analysis.counting import Summary, Unit

UNITS, SUMMARY = "units.tsv", "units.json"
WORDS = "words"
_UNITS = ["code", "word", "F1", "precision", "recall", "steps of it", "words with it"]
_LAYERS = ["layer", "codes used", "of", "perplexity", "steps"]
_MOST = 3  # words of a code in units.tsv


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer's result: the whole, and its units, the highest F1 first."""

    summary: Summary
    units: Sequence[Unit]

    def best(self, n: int) -> list[Unit]:
        """The n codes of highest F1, each with its best word."""
        of_code: dict[int, Unit] = {}
        for unit in self.units:
            of_code.setdefault(unit.code, unit)
        return list(of_code.values())[:n]


def layer_rows(
    layers: Mapping[str, Layer], config: UnitsConfig, worded: bool
) -> tuple[list[str], list[list[str]]]:
    """The table of the layers: its header, and a row for each."""
    header = list(_LAYERS)
    if worded:
        header += [
            f"codes of precision >= {config.least_precision:g}",
            f"words of F1 >= {config.least_f1:g}",
            *("of words", "mean F1"),
        ]
    rows = []
    for name, layer in layers.items():
        s = layer.summary
        row = [name, *map(str, (s.n_used, s.n_codes)), f"{s.perplexity:.1f}"]
        row.append(str(s.n_steps))
        if worded:
            counts = map(str, (s.n_detectors, s.n_words, s.n_types))
            row += [*counts, f"{s.mean_f1:.3f}"]
        rows.append(row)
    return header, rows


def unit_rows(layer: Layer, n: int) -> tuple[list[str], list[list[str]]]:
    """The table of the best codes of a layer."""
    rows = [
        [str(u.code), u.word, *(f"{x:.3f}" for x in (u.f1, u.precision, u.recall))]
        + [str(u.n_steps), str(u.n_words)]
        for u in layer.best(n)
    ]
    return list(_UNITS), rows


def terminal(layers: Mapping[str, Layer], config: UnitsConfig, worded: bool) -> str:
    """The tables as text."""
    parts = [tables.markdown(*layer_rows(layers, config, worded))]
    for name, layer in layers.items() if worded else ():
        parts.append(f"{name}:\n{tables.markdown(*unit_rows(layer, config.n_shown))}")
    return "\n\n".join(parts)


def write(
    folder: str,
    layers: Mapping[str, Layer],
    tiers: Mapping[str, tuple[float, Mapping[str, Sequence[Span]]]],
    config: UnitsConfig,
    told: Mapping[str, Any],
) -> None:
    """Writes all files.

    Args:
        folder: an empty one.
        layers: by name.
        tiers: of each record where it ends in its media, in seconds, and the spans of
            its layers and words there.
        config: settings.
        told: what was analysed, for units.json and the page.
    """
    worded = any(layer.units for layer in layers.values())
    fields = list(Unit._fields)
    out = io.StringIO()
    writer = csv.writer(out, "excel-tab", lineterminator="\n")
    writer.writerow(["layer", *fields])
    for name, layer in layers.items():
        shown: dict[int, int] = {}
        for unit in layer.units:
            shown[unit.code] = shown.get(unit.code, 0) + 1
            if shown[unit.code] <= _MOST:
                cells = [f"{x:.6g}" if isinstance(x, float) else x for x in unit]
                writer.writerow([name, *cells])
    texts.write(folder, UNITS, out.getvalue())
    value = {
        **told,
        "settings": dataclasses.asdict(config),
        "layers": {name: layer.summary._asdict() for name, layer in layers.items()},
    }
    text = json.dumps(value, indent=1, ensure_ascii=False)
    texts.write(folder, SUMMARY, text + "\n")
    for record_id, (length_s, of_record) in tiers.items():
        texts.write_spans(folder, record_id, length_s, of_record)
    texts.write(folder, exhibits.INDEX, _page(layers, config, told, worded))


def _page(
    layers: Mapping[str, Layer],
    config: UnitsConfig,
    told: Mapping[str, Any],
    worded: bool,
) -> str:
    parts: list[Any] = [_table(*layer_rows(layers, config, worded), 1)]
    for name, layer in layers.items() if worded else ():
        parts += [page.Heading(name, 2, name)]
        parts.append(_table(*unit_rows(layer, config.n_shown), 2))
    lines = [f"{name}: {value}" for name, value in told.items()]
    parts.append(page.Paragraph("; ".join(lines), False))
    return page.html(f"Units of {told['model']}", parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], n_left: int):
    cells = [[(cell, "") for cell in row] for row in rows]
    return page.Table(header, cells, n_left, [False] * len(rows))
