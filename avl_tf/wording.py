"""Words of summaries that depend on a number."""


def counted(n: int, noun: str) -> str:
    """A number of things: "1 clip", "2 clips", "0 clips"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def span(seconds: float) -> str:
    """A time in the unit that suits it: 12 s, 3.4 min, 1.2 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
