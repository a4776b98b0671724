"""Many small segments made one, so that an index that grows daily stays quick to open.

What caches say of the segments that they cover is changed with them: only neighbours
that are all covered by a cache, or not at all, become one. No TensorFlow here.
"""

import itertools
from typing import Any

from avl_tf.retrieval.entries import Segment
from avl_tf.retrieval.writing import Writer

_MANY, _SMALL, _LARGEST = 64, 4096, 65_536
_CACHES = ("vectors-visual", "vectors-audio", "milvus")


def merge_small(writer: Writer) -> int:
    """Merges segments if there are many small ones; returns how many are gone."""
    segments = writer.segments
    if sum(one.n_windows < _SMALL for one in segments) < _MANY:
        return 0
    n_gone = 0
    for group in _groups(writer):
        numbers = [one.number for one in group]
        notes = {name: writer.note(name) for name in _CACHES}
        new = writer.next_segment
        changed = {
            name: _replaced(value, numbers, new)
            for name, value in notes.items()
            if isinstance(value, dict)
        }
        writer.merge(group, changed)
        n_gone += len(group) - 1
    return n_gone


def _groups(writer: Writer) -> list[list[Segment]]:
    lists = [
        held
        for name in _CACHES
        if isinstance(value := writer.note(name), dict)
        for held in _lists(value)
    ]

    def kind(one: Segment) -> tuple:
        return one.n_windows < _SMALL, *(one.number in held for held in lists)

    found = []
    for (is_small, *_), members in itertools.groupby(writer.segments, kind):
        group: list[Segment] = []
        for one in members if is_small else ():
            if sum(each.n_windows for each in group) + one.n_windows > _LARGEST:
                found.append(group)
                group = []
            group.append(one)
        found.append(group)
    return [group for group in found if len(group) > 1]


def _lists(note: dict[str, Any]) -> list[list[int]]:
    held = note.get("segments", [])
    return list(held.values()) if isinstance(held, dict) else [held]


def _replaced(value: dict[str, Any], numbers: list[int], new: int) -> dict[str, Any]:
    """A cache's note with the new segment in place of those that it was made of."""

    def of(held: list[int]) -> list[int]:
        if numbers[0] not in held:
            return held
        return sorted({*held, new} - set(numbers))

    held = value.get("segments", [])
    if isinstance(held, dict):
        return {**value, "segments": {side: of(one) for side, one in held.items()}}
    return {**value, "segments": of(held)}
