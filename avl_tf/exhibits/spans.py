"""Timed texts as files: TextGrids for Praat and ELAN, WebVTT for players."""

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import NamedTuple


class Span(NamedTuple):
    """A text from one second to another."""

    start_s: float
    end_s: float
    text: str


def textgrid(duration_s: float, tiers: Mapping[str, Iterable[Span]]) -> str:
    """Makes a TextGrid of interval tiers, in Praat's long text format.

    Args:
        duration_s: of the recording, above 0; what lies beyond it is cut.
        tiers: name -> spans in any order. Gaps become empty intervals. Where spans
            overlap, an interval has the texts of all of them, "a / b", as intervals of
            a tier cannot overlap.

    Returns:
        The text, to be written as UTF-8.

    Raises:
        ValueError: duration_s is no number above 0.

    Source: Praat's manual, "TextGrid file formats".
    """
    if not 0 < duration_s < math.inf:
        raise ValueError(f"duration_s is {duration_s}, expected a number above 0.")
    end = round(duration_s, 6)
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_number(end)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, spans) in enumerate(tiers.items(), 1):
        intervals = _intervals(end, spans)
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {_number(end)}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, span in enumerate(intervals, 1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {_number(span.start_s)}",
                f"            xmax = {_number(span.end_s)}",
                f"            text = {_quoted(span.text)}",
            ]
    return "\n".join(lines) + "\n"


def webvtt(spans: Iterable[Span]) -> str:
    """Makes WebVTT of spans in any order; a text is shown as it is, in one line.

    Source: https://www.w3.org/TR/webvtt1/, section 4.
    """
    cues = []
    for span in sorted(spans):
        start = max(0, round(span.start_s * 1000))
        end = max(start + 1, round(span.end_s * 1000))
        text = escape(_line(span.text), quote=False)
        cues.append(f"\n{_clock(start)} --> {_clock(end)}\n{text}\n")
    return "WEBVTT\n" + "".join(cues)


def _intervals(end: float, spans: Iterable[Span]) -> list[Span]:
    """Intervals that fill 0 to end, one behind the other."""
    cut = [
        Span(max(0.0, round(a, 6)), min(end, round(b, 6)), text) for a, b, text in spans
    ]
    kept = sorted(span for span in cut if span.start_s < span.end_s)
    times = sorted({0.0, end, *(time for span in kept for time in span[:2])})
    found = []
    for start, stop in zip(times, times[1:], strict=False):
        texts = [s.text for s in kept if s.start_s <= start and stop <= s.end_s]
        found.append(Span(start, stop, " / ".join(texts)))
    return found


def _number(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + _line(text).replace('"', '""') + '"'


def _line(text: str) -> str:
    return " ".join(text.split())


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds % 60:02d}.{rest:03d}"
