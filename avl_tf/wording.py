"""Words of summaries that depend on a number."""


def counted(n: int, noun: str) -> str:
    """A number of things: "1 clip", "2 clips", "0 clips"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
