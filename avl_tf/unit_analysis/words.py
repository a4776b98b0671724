"""The timed words of recordings, as alignments of codes need them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from avl_tf.discovery import labels
from avl_tf.discovery.labels import Annotated
from avl_tf.errors import UserError
from avl_tf.exhibits.spans import Span

ALIGNMENT = "text_alignment"
_KNOWN = ("words", ALIGNMENT, "slides", "names")


def timed(field: str, recordings: Sequence[Annotated]) -> tuple[str, list[list[Span]]]:
    """The words of recordings that have times, in seconds from the start of each.

    Args:
        field: of the labels, as discovery.labels.spoken has them; text_alignment, as
            that of Places: "0.1__A__0.2 0.2__DOG__0.6"; "none"; or "auto", the first of
            words, text_alignment, slides and names that has times.
        recordings: all of a set.

    Returns:
        The field that was read, "none" if there are no times; the words of each.

    Raises:
        UserError: no recording has such a field, or one is not as said above.
    """
    if field == labels.AUTO:
        held = {name for one in recordings for name in one.labels}
        for name in filter(held.__contains__, _KNOWN):
            field, found = timed(name, recordings)
            if any(found):
                return field, found
        field = labels.NONE
    if field == ALIGNMENT:
        return field, [_aligned(one.id, one.labels) for one in recordings]
    field, found = labels.spoken(field, recordings)
    known = [[s for s in spans if s.end_s < math.inf] for spans in found]
    return (field if any(known) else labels.NONE), known


def _aligned(record_id: str, values: Mapping[str, Any]) -> list[Span]:
    """Reads start__WORD__end with spaces between; a record may have none."""
    found = []
    text = values.get(ALIGNMENT) or ""
    for item in text.split() if isinstance(text, str) else [repr(text)]:
        parts = item.split("__")
        try:
            start, word, end = float(parts[0]), parts[1], float(parts[2])
            if len(parts) != 3 or not 0 <= start <= end < math.inf:
                raise ValueError
        except (ValueError, IndexError):
            raise UserError(
                f"record {record_id}: its labels' {ALIGNMENT} has {item!r:.80}, "
                "expected start__WORD__end in seconds, as in 0.25__DOG__0.6."
            ) from None
        if plain := labels.plain(word):
            found.append(Span(start, end, plain))
    return found
