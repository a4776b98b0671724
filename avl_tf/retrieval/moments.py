"""From windows that overlap to moments of videos: the best of them stands for all."""

from collections.abc import Sequence

from avl_tf.retrieval.entries import Window


def merge(windows: Sequence[Window], n: int) -> list[int]:
    """Chooses moments of windows that are in order, the best first.

    A window that overlaps a chosen one of the same media file gives none: the moment
    is the better one, with its own span (their union may be as long as the video).
    Windows that only touch are two moments.

    Args:
        windows: in order.
        n: how many moments at most.

    Returns:
        The indices of the chosen, in order.
    """
    chosen: list[int] = []
    spans: dict[str | int, list[tuple[float, float]]] = {}
    for index, window in enumerate(windows):
        others = spans.setdefault(_file(window), [])
        overlaps = any(
            window.start_s < end and start < window.end_s for start, end in others
        )
        if not overlaps:
            others.append((window.start_s, window.end_s))
            chosen.append(index)
        if len(chosen) == n:
            break
    return chosen


def overlap(one: Window, other: Window) -> bool:
    """Whether two windows show the same of a media file."""
    is_later = one.start_s >= other.end_s or other.start_s >= one.end_s
    return _file(one) == _file(other) and not is_later


def _file(window: Window) -> str | int:
    # Several spans of a file are media of their own.
    return window.media or window.media_id
