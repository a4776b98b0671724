"""What an earlier manifest says of recordings that are dealt again.

A manifest that is to be made anew comes in; its recordings go out, by the ids that they
have now, with what is to be told of those that are there no more.
"""

import collections
import dataclasses
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

from avl_tf import json_text
from avl_tf.errors import UserError
from avl_tf.manifest import Recording, sift_manifest
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.media_files import normal

_REMEDY = "Its splits are to be kept: mend it, or deal all anew by --nokeep_splits."
# Fields that whoever mends a manifest may have put in, and what says nothing.
_BLANK: dict[str, Any] = {
    "language": "und",
    "audio_track": None,
    "image": None,
    "start_s": 0.0,
    "end_s": None,
    "clips": [],
    "labels": {},
    "synthetic": False,
}


@dataclasses.dataclass(frozen=True)
class Earlier(Recording):
    """A recording of an earlier manifest, with its length if that is there."""

    duration_s: float | None = None


def read_earlier(path: str) -> dict[str, Earlier]:
    """The recordings of a manifest that is to be made anew, by id; {} if there is none.

    Raises:
        UserError: it, or a line of it, cannot be read; a line that is passed over would
            lose its split.
    """
    if not os.path.isfile(path) or not os.path.getsize(path):
        return {}
    try:
        recordings, faults = sift_manifest(path)
    except UserError as error:
        raise UserError(f"{error} {_REMEDY}") from error
    if faults:
        raise UserError(f"{faults[0].reason} {_REMEDY}")
    with open(path, encoding="utf-8-sig") as file:
        lines = [json_text.load(line, path) for line in file if line.strip()]
    length_of = {line["id"]: line.get("duration_s") for line in lines}
    return {
        one.id: Earlier(**vars(one), duration_s=length_of[one.id]) for one in recordings
    }


def recording_id(group: Sequence[str], earlier: Mapping[str, Recording]) -> str:
    """What the recording of some files is called: as one of them, and as earlier."""
    names = (earlier[name].recording_id for name in group if name in earlier)
    return next((name for name in names if name in group), group[0])


def follow(
    earlier: Mapping[str, Earlier],
    path_of: Mapping[str, str],
    length_of: Mapping[str, float | None],
    notes: list[Finding],
) -> dict[str, Earlier]:
    """Finds recordings again whose files have other names now.

    By the file itself (another folder was given), then by the end of its path, then by
    its name without the suffix, then by its length; only where there is one that is
    gone and one new. A new file that is taken for one that is gone costs nothing: it is
    not dealt by its hash, and that is all.

    Args:
        earlier: of read_earlier().
        path_of: id -> path, of all files that there are now.
        length_of: id -> seconds, as in a line's duration_s, as far as they are known.
        notes: takes "renamed" for those, and "gone" for what is not found again.

    Returns:
        Those that are there, by the ids of now.
    """
    there = {name: one for name, one in earlier.items() if name in path_of}
    gone = {name: one for name, one in earlier.items() if name not in path_of}
    new = {name: path for name, path in path_of.items() if name not in earlier}
    real = {name: os.path.realpath(path) for name, path in new.items()}
    now_of: dict[str, str] = {}
    # What each rule compares, of those that are gone and of the new ones.
    tails = (_tail(depth) for depth in (4, 3, 2, 1))
    rules: list[tuple[Callable[[str], Hashable], Callable[[str], Hashable]]] = [
        (lambda name: os.path.realpath(gone[name].media), lambda name: real[name]),
        *((key, key) for key in (*tails, _stem)),
        (lambda name: gone[name].duration_s or None, length_of.get),
    ]
    for old_key, new_key in rules:
        olds = [name for name in gone if name not in now_of]
        news = [name for name in new if name not in now_of.values()]
        now_of |= _pairs(olds, old_key, news, new_key)
    for old, now in now_of.items():
        recording = now_of.get(gone[old].recording_id, gone[old].recording_id)
        one = dataclasses.replace(gone[old], id=now, recording_id=recording)
        there[now] = one
        detail = f"taken for {old}, which is gone, and kept in {one.split}"
        notes.append(Finding("renamed", now, detail, path_of[now]))
    lost = (name for name in gone if name not in now_of)
    notes += [Finding("gone", n, _why_gone(gone[n]), gone[n].media) for n in lost]
    return there


def overwritten(
    earlier: Mapping[str, Recording],
    lines: Iterable[Mapping[str, Any]],
    except_for: Collection[str] = (),
) -> list[Finding]:
    """Notes on fields, written by hand or by another program, that are lost.

    Args:
        earlier: of follow().
        lines: what is written instead.
        except_for: fields that may change.
    """
    found = []
    for line in lines:
        if not (one := earlier.get(line["id"])):
            continue
        told = {**vars(one), "clips": list(one.clips)}
        lost = [
            name
            for name in _BLANK
            if name not in except_for
            and told[name] not in (_BLANK[name], line.get(name, _BLANK[name]))
        ]
        recording = line.get("recording_id", one.id)
        if one.recording_id not in (recording, *earlier):
            lost.append("recording_id")
        if lost:
            detail = f"without the {' and '.join(lost)} of the earlier manifest"
            found.append(Finding("overwritten", one.id, detail, one.media))
    return found


def _why_gone(one: Recording) -> str:
    if os.path.isfile(one.media):
        return (
            "in the earlier manifest, and not below --videos, though the file is "
            "there: a manifest is of one folder and language"
        )
    return (
        "in the earlier manifest, and not there now: under a new name it would be "
        "dealt as a new one"
    )


def _pairs(
    olds: Iterable[str],
    old_key: Callable[[str], Hashable],
    news: Iterable[str],
    new_key: Callable[[str], Hashable],
) -> dict[str, str]:
    """Old name -> new name, where one of each has a key that is not None."""
    by_key: dict[Hashable, tuple[list[str], list[str]]]
    by_key = collections.defaultdict(lambda: ([], []))
    for side, names, key_of in ((0, olds, old_key), (1, news, new_key)):
        for name in names:
            if (key := key_of(name)) is not None:
                by_key[key][side].append(name)
    pairs = (sides for sides in by_key.values() if [*map(len, sides)] == [1, 1])
    return {old[0]: new[0] for old, new in pairs}


def _tail(depth: int) -> Callable[[str], Hashable]:
    """The last parts of an id's path, for those that have so many."""

    def key(name: str) -> Hashable:
        parts = normal(name).split("/")
        return tuple(parts[-depth:]) if len(parts) >= depth else None

    return key


def _stem(name: str) -> str:
    return os.path.splitext(normal(name).split("/")[-1])[0]
