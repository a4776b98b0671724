"""What was found as tables: the same cells on the page and on the terminal."""

from collections.abc import Sequence

from avl_tf.discovery.concepts import Discovered, Row
from avl_tf.discovery.purity import Concept

_CONCEPT_HEADER = (
    *("dimension", "heard", "seen", "audio purity", "visual purity"),
    *("geometric mean", "agreement"),
)
ROW_HEADER = ["dimensions", "best", "audio", "visual", "geometric mean", "same label"]


def concept_table(
    result: Discovered, concepts: Sequence[Concept]
) -> tuple[list[str], list[list[str]]]:
    """Header and lines of dimensions, without columns that have no value at all."""
    lines = [_concept_cells(result, concept) for concept in concepts]
    kept = [
        place
        for place in range(len(_CONCEPT_HEADER))
        if any(line[place] != "-" for line in lines)
    ]
    header = [_CONCEPT_HEADER[place] for place in kept]
    return header, [[line[place] for place in kept] for line in lines]


def _concept_cells(result: Discovered, concept: Concept) -> list[str]:
    heard, seen = concept.audio, concept.visual
    return [
        str(concept.dimension),
        heard.label or "-",
        seen.label or "-",
        f"{heard.purity:.2f}" if heard.label else "-",
        f"{seen.purity:.2f}" if seen.label else "-",
        f"{concept.mean:.3f}" if heard.label and seen.label else "-",
        f"{result.agreement[concept.dimension]:.2f}",
    ]


def row_cells(row: Row) -> list[str]:
    """The cells of a line of the comparison; ± is a deviation over draws."""
    values = [
        f"{mean:.3f}" + (f" ± {deviation:.3f}" if row.n > 1 else "")
        for mean, deviation in zip(row.mean, row.deviation, strict=True)
    ]
    return [row.name, str(row.best), *values, f"{row.n_same:g}"]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, its columns in line."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines
    )
