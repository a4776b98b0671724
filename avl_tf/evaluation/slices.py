"""Parts of an evaluation set, by the fields of its clips."""

import collections
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avl_tf.errors import UserError
from avl_tf.evaluation.clip_fields import Fields
from avl_tf.wording import counted

# The places of a slice's clips, int [n], by its name.
Slices = dict[str, np.ndarray]
NONE = "(none)"
_MOST, _SHOWN = 30, 60


def cut(
    clips: Sequence[Fields], wanted: Mapping[str, Sequence[str]], place: str
) -> Slices:
    """Cuts a set into slices, field by field.

    Args:
        clips: the fields of every clip.
        wanted: as SliceConfig.wanted: by field, values or the edges of numbers. Of
            numbers a slice goes from an edge to below the next; what lies before the
            first or behind the last has slices of its own, if there is any.
        place: what messages begin with.

    Returns:
        The places of the clips by the name of the slice, in the order of wanted. A clip
        with a list of texts is in the slice of each. Clips without the field, or with
        an empty list, are "FIELD=(none)".

    Raises:
        UserError: a field is unknown or of several types, or a slice has no clip.
    """
    found: Slices = {}
    for field, given in wanted.items():
        values = _values(clips, field, place)
        kind = _kind(clips, values, f"{place}: '{field}'")
        if kind is float and given:
            found |= _binned(values, field, given, place)
        elif given:
            found |= _chosen(values, field, given, place)
        else:
            found |= _each(values, field, kind, place)
    return found


def draw_sounds(
    clips: Sequence[Fields], field: str, value: str, seed: int, place: str
) -> Slices:
    """Draws the Speech/Sounds protocol: as many clips with speech as without.

    Args:
        clips, place: as of cut.
        field, value: what clips without a word have; "" is an empty text or list, or no
            field.
        seed: of the draw.

    Returns:
        The places of "Sounds-n" and "Speech-n".

    Raises:
        UserError: the field is unknown, or all clips or none are of that value.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.5.
    Differs: where more clips are without a word than with one, as many of them are
        drawn too.
    """
    values = _values(clips, field, place)
    if value not in ("", NONE):  # of what a list is does not matter if it is empty
        _kind(clips, values, f"{place}: '{field}'")
    silent = np.array([_is(one, value) for one in values])
    if silent.all() or not silent.any():
        which = "every" if silent.all() else "no"
        raise UserError(
            f"{place}: {which} clip has {field}={value}, so that there is nothing to "
            f"tell apart. {_told(values)}"
        )
    n = min(np.count_nonzero(silent), np.count_nonzero(~silent))
    random = np.random.default_rng(seed)
    drawn = [np.flatnonzero(silent), np.flatnonzero(~silent)]
    drawn = [
        every if len(every) == n else np.sort(random.choice(every, n, replace=False))
        for every in drawn
    ]
    return {f"Sounds-{n}": drawn[0], f"Speech-{n}": drawn[1]}


def _values(clips: Sequence[Fields], field: str, place: str) -> list[Any]:
    if not any(field in clip for clip in clips):
        names = sorted(set(itertools.chain.from_iterable(clips)))
        there = ", ".join([*names[:_MOST], *(["..."] if names[_MOST:] else [])])
        raise UserError(
            f"{place}: no clip has a field '{field:.80}'. There are {there}. Others "
            "come from the manifest, --manifest=SET=PATH."
        )
    values = [clip.get(field) for clip in clips]
    return [None if value in ("", NONE, []) else value for value in values]


def _kind(clips: Sequence[Fields], values: Sequence[Any], place: str) -> type:
    """The one type of values: bool, float (of all numbers), str or list (of texts)."""
    kinds: dict[type, tuple[str, Any]] = {}
    for clip, value in zip(clips, values, strict=True):
        if value is not None:
            plain = float if type(value) is int else type(value)
            kinds.setdefault(plain, (clip["id"], value))
    if len(kinds) > 1:
        (a, x), (b, y) = list(kinds.values())[:2]
        raise UserError(
            f"{place} is of several types: {_shown(x)} in record {a}, {_shown(y)} in "
            f"record {b}. A field makes slices if it is of one."
        )
    kind = next(iter(kinds), str)
    if kind is list and not all(
        isinstance(one, str) for value in values if value for one in value
    ):
        raise UserError(
            f"{place} holds lists of other things than texts. Slices are made by "
            "texts, lists of texts, numbers, or true and false."
        )
    return kind


def _each(values: Sequence[Any], field: str, kind: type, place: str) -> Slices:
    there = sorted({one for value in values for one in _items(value)} - {None})
    if len(there) > _MOST:
        advice = f"--slices={field}=0,5,10 names edges of numbers"
        if kind is not float:
            advice = f"--slices={field}=VALUE takes one"
        raise UserError(
            f"{place}: '{field}' has {len(there)} values, {_MOST} at most make a slice "
            f"each. {advice}."
        )
    slices = {f"{field}={_text(one)}": _where(values, one) for one in there}
    if None in values:
        slices[f"{field}={NONE}"] = _where(values, None)
    return slices


def _chosen(
    values: Sequence[Any], field: str, given: Sequence[str], place: str
) -> Slices:
    found = {}
    for text in given:
        places = np.flatnonzero([_is(one, text) for one in values])
        if not len(places):
            raise UserError(
                f"{place}: no clip has {field}={text}, and a slice needs one. "
                f"{_told(values)}"
            )
        found[f"{field}={text}"] = places
    return found


def _binned(
    values: Sequence[Any], field: str, given: Sequence[str], place: str
) -> Slices:
    flag = f"--slices={field}={','.join(given)}"
    try:
        edges = [float(text) for text in given]
    except ValueError:
        raise UserError(
            f"{flag}: '{field}' holds numbers, so that edges are expected, as in "
            f"--slices={field}=0,5,10."
        ) from None
    if not np.isfinite(edges).all() or any(
        low >= high for low, high in itertools.pairwise(edges)
    ):
        raise UserError(f"{flag}: the edges must rise, each above the one before.")
    numbers = np.array([np.nan if v is None else float(v) for v in values])
    names = [f"{field} below {given[0]}"]
    names += [f"{field} {low} to {high}" for low, high in itertools.pairwise(given)]
    names += [f"{field} {given[-1]} or more"]
    ends = itertools.pairwise([-np.inf, *edges, np.inf])
    found = {
        name: np.flatnonzero((low <= numbers) & (numbers < high))
        for name, (low, high) in zip(names, ends, strict=True)
    }
    # Outside of several edges there may be nothing.
    needed = names[1:-1] or names
    if empty := next((name for name in needed if not len(found[name])), ""):
        there = numbers[~np.isnan(numbers)]
        raise UserError(
            f"{place}: no clip has {empty}, and a slice needs one. Its values go from "
            f"{_text(there.min())} to {_text(there.max())}."
        )
    found[f"{field}={NONE}"] = np.flatnonzero(np.isnan(numbers))
    return {name: places for name, places in found.items() if len(places)}


def _where(values: Sequence[Any], wanted: Any) -> np.ndarray:
    return np.flatnonzero([wanted in _items(value) for value in values])


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is(value: Any, text: str) -> bool:
    """Whether a value is what a user writes for it."""
    if value is None:
        return text in ("", NONE)
    if isinstance(value, list):
        return text in value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return value == float(text)
        except ValueError:
            return False
    return _text(value) == text


def _told(values: Sequence[Any]) -> str:
    """The most frequent values of a field, with how often each is there."""
    every = (one for value in values for one in _items(value))
    counts = collections.Counter(NONE if one is None else _text(one) for one in every)
    shown = [f"{_shown(text)} ({n})" for text, n in counts.most_common(5)]
    more = len(counts) - len(shown)
    others = f" and {counted(more, 'other')}" if more else ""
    return f"Its values: {', '.join(shown)}{others}."


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | int):
        return repr(float(value)).removesuffix(".0")
    return str(value)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else _text(value)
    text = " ".join(text.split())
    return f"{text[:_SHOWN]}..." if len(text) > _SHOWN else text
