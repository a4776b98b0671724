"""Words of summaries: what depends on a number, and cells of tables."""

from typing import Any


def counted(n: int, noun: str) -> str:
    """A number of things: "1 clip", "2 clips", "0 clips"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def span(seconds: float) -> str:
    """A time in the unit that suits it: 12 s, 3.4 min, 1.2 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def cell(value: Any) -> str:
    """A value as text that Markdown takes as it is."""
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value) or "none"
    text = "not stated" if value in (None, "") else str(value)
    text = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#&" else c for c in text)
