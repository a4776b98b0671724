"""From windows that overlap to moments of videos: the best of them stands for all."""

from collections.abc import Sequence

from avl_tf.retrieval.entries import Window

# Spans that are no further apart touch.
_GAP_S = 1e-3

_Span = tuple[float, float]


def merge(
    windows: Sequence[Window], n: int, spans: Sequence[_Span] | None = None
) -> list[int]:
    """Chooses moments of windows that are in order, the best first.

    A window that overlaps a chosen one of the same media file gives none: the moment
    is the better one, with its own span (their union may be as long as the video).
    Windows that only touch are two moments; but where reranking has narrowed one to
    what touches that of the other, they are one: one scene, cut by the windows.

    Args:
        windows: in order.
        n: how many moments at most.
        spans: what reranking has narrowed them to, seconds; None is nothing.

    Returns:
        The indices of the chosen, in order.
    """
    chosen: list[int] = []
    files: dict[str | int, list[tuple[_Span, _Span]]] = {}
    for index, window in enumerate(windows):
        whole = window.start_s, window.end_s
        span = spans[index] if spans else whole
        others = files.setdefault(_file(window), [])
        is_one = any(
            _overlap(whole, other, 0)
            or ((span, its) != (whole, other) and _overlap(span, its, _GAP_S))
            for other, its in others
        )
        if not is_one:
            others.append((whole, span))
            chosen.append(index)
        if len(chosen) == n:
            break
    return chosen


def overlap(one: Window, other: Window) -> bool:
    """Whether two windows show the same of a media file."""
    spans = (one.start_s, one.end_s), (other.start_s, other.end_s)
    return _file(one) == _file(other) and _overlap(*spans, 0)


def _overlap(one: _Span, other: _Span, gap_s: float) -> bool:
    return one[0] < other[1] + gap_s and other[0] < one[1] + gap_s


def _file(window: Window) -> str | int:
    # Several spans of a file are media of their own.
    return window.media or window.media_id
