"""What is said and seen when: words of records, from their manifest's labels.

A field of labels is one of
    [{"word": TEXT, "start_s": S, "end_s": S}, ...]   spans; the text may be called
                word, text, name, concept or label, the times name_start_s, name_end_s
                where they are those of the name that is spoken
    [TEXT, ...] with spans_s [[S, S], ...] beside it  spans in which they are spoken
    TEXT, [TEXT, ...]                                 of all of the recording
"clips" are the labels of its clips, "a, b" two of them.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from avl_tf.errors import UserError
from avl_tf.exhibits.spans import Span

CLIPS, NONE, AUTO = "clips", "none", "auto"
_SPOKEN = ("words", "slides", "names", CLIPS)
_SEEN = ("slides", "names", "objects", CLIPS)
_TEXTS = ("word", "text", "name", "concept", "label")
_SPANS = "spans_s"
_EDGES = " \t\r\n.,;:!?\"'()[]{}«»“”„…¿¡।॥。、，？！"


class Timed:
    """Texts of one recording by their spans, to be asked for those of a window."""

    def __init__(self, spans: Sequence[Span]):
        self.spans = sorted(spans)
        self._starts = [span.start_s for span in self.spans]
        self._longest = max((s.end_s - s.start_s for s in self.spans), default=0.0)

    def within(self, start_s: float, end_s: float) -> list[str]:
        """The texts whose spans overlap a window, in their order, each once."""
        first = bisect.bisect_left(self._starts, start_s - self._longest)
        last = bisect.bisect_left(self._starts, end_s)
        found = [s.text for s in self.spans[first:last] if s.end_s > start_s]
        return list(dict.fromkeys(found))


class Annotated(NamedTuple):
    """A recording's labels, and its clips with theirs, as spans."""

    id: str
    labels: Mapping[str, Any]
    clips: Sequence[Span]


def spoken(field: str, recordings: Sequence[Annotated]) -> tuple[str, list[list[Span]]]:
    """The words of recordings, in seconds from the start of each.

    Args:
        field: of labels; "clips", "none", or "auto", the first of words, slides, names
            and clips that a recording has.
        recordings: all of a set.

    Returns:
        The field that was read, and the words of each recording.

    Raises:
        UserError: no recording has such a field, or one is not as said above.
    """
    field = _chosen(field, recordings, _SPOKEN, "audio_labels")
    return field, [_spans(field, one, "name_") for one in recordings]


def seen(field: str, recordings: Sequence[Annotated]) -> tuple[str, list[list[Span]]]:
    """What is seen; as spoken, "auto" is of slides, names, objects and clips."""
    field = _chosen(field, recordings, _SEEN, "visual_labels")
    return field, [_spans(field, one, "") for one in recordings]


def _chosen(
    field: str, recordings: Sequence[Annotated], known: Sequence[str], flag: str
) -> str:
    held = {name for one in recordings for name in one.labels}
    if any(clip.text for one in recordings for clip in one.clips):
        held.add(CLIPS)
    if field == AUTO:
        return next((name for name in known if name in held), NONE)
    if field not in held | {NONE}:
        raise UserError(
            f"--{flag}={field}: no record has such labels; it is one of "
            f"{', '.join([AUTO, NONE, *sorted(held)])}."
        )
    return field


def _spans(field: str, recording: Annotated, prefix: str) -> list[Span]:
    _, labels, clips = recording
    if field == NONE:
        return []
    if field == CLIPS:
        return [
            Span(clip.start_s, clip.end_s, label)
            for clip in clips
            for part in clip.text.split(",")
            if (label := plain(part))
        ]
    value = labels.get(field)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    times = labels.get(_SPANS) if prefix else None
    if not isinstance(times, list) or len(times) != len(listed):
        times = [(0.0, math.inf)] * len(listed)
    found = []
    text: Any
    span: Any
    for one, whole in zip(listed, times, strict=True):
        text, span = one, whole
        if isinstance(one, Mapping):
            text = next((one[name] for name in _TEXTS if name in one), None)
            begin = prefix if f"{prefix}start_s" in one else ""
            span = one.get(f"{begin}start_s"), one.get(f"{begin}end_s")
            if begin and None in span:
                continue  # it is seen, and nobody says it
        if not isinstance(text, str) or not _is_span(span):
            raise UserError(
                f"record {recording.id}: its labels' {field} is {one!r:.80}, expected "
                'texts, or objects such as {"word": "dog", "start_s": 1.2, "end_s": '
                "1.5}."
            )
        if word := plain(text):
            found.append(Span(float(span[0]), float(span[1]), word))
    return found


def _is_span(span: Any) -> TypeGuard[Sequence[float]]:
    return (
        isinstance(span, list | tuple)
        and len(span) == 2
        and all(isinstance(t, int | float) and not isinstance(t, bool) for t in span)
        and span[0] <= span[1]
    )


def plain(text: str) -> str:
    """A word as it is compared: in small letters, without punctuation around it."""
    return " ".join(text.split()).strip(_EDGES).casefold()
