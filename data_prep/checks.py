"""Checks of a corpus before it is written: what is wrong with which line.

Lines of a manifest come in (dicts; "media" may be None), findings go out. Nothing here
decides what becomes of them.
"""

import collections
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

from avl_tf import json_text
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.line import beyond_end, fault_of
from avl_tf.manifest.media_files import sha256
from data_prep.splits import rank

Line = dict[str, Any]

# The defects that --drop names; findings of other kinds are notes.
DEFECTS = {
    "unfit": "an entry that no manifest can hold, such as an id of no letters",
    "missing": "a media file or image that is not there",
    "dead": "a file that is empty or cannot be opened",
    "silent": "no sound, or nothing but zeros",
    "overlap": "an id or a recording that is in another split too",
    "duplicates": "an id, or a file, that is there a second time",
    "span": "a clip whose times are no span",
    "beyond": "a clip that starts after the end of its sound",
}
_HASHED = 1 << 16


def finding(kind: str, line: Line, detail: str) -> Finding:
    """What is wrong with a line."""
    return Finding(kind, line["id"], detail, line["media"] or "")


def unfit_lines(lines: Sequence[Line]) -> dict[int, Finding]:
    """Finds lines that a manifest cannot hold, whatever their clips; index -> finding.

    A medium of None is for unusable_files to find.
    """
    found = {}
    for index, line in enumerate(lines):
        fault = fault_of({**line, "media": line["media"] or "-"}, clips=False)
        if not line["id"]:
            fault = f"entry {index + 1} of the corpus has an empty id"
        if fault:
            name = json_text.mended(line["id"]) or f"entry {index + 1}"
            found[index] = Finding("unfit", name, fault)
    return found


def unusable_files(lines: Sequence[Line]) -> dict[int, Finding]:
    """Finds lines without their media or image: "missing", or "dead" if it is empty.

    Returns:
        Index into lines -> finding.
    """
    found = {}
    for index, line in enumerate(lines):
        for name in ("media", "image"):
            path = line.get(name, "")
            if path == "":
                continue
            if path is None:
                found[index] = finding("missing", line, f"no {name} file for it")
            elif not os.path.isfile(path):
                found[index] = finding("missing", line, f"{path}: no such file")
            elif not os.path.getsize(path):
                found[index] = finding("dead", line, f"{path}: an empty file")
    return found


def overlaps(lines: Sequence[Line]) -> dict[int, Finding]:
    """Finds lines whose id or recording is in another split that should have it.

    Evaluation comes first: what is in train and in val belongs to val, what is in val
    and in test to test. Between others the first line decides.

    Returns:
        Index into lines -> finding, for the lines that ought to go.
    """
    home: dict[tuple[str, str], str] = {}
    for line in lines:
        for key in _identities(line):
            split = home.setdefault(key, line["split"])
            if rank(line["split"]) > rank(split):
                home[key] = line["split"]
    found = {}
    for index, line in enumerate(lines):
        for key in _identities(line):
            if line["split"] != home[key]:
                where = f"'{line['split']}', and in '{home[key]}' too"
                detail = f"{key[0]} '{key[1]}' is in {where}"
                found[index] = finding("overlap", line, detail)
    return found


def _identities(line: Line) -> Iterable[tuple[str, str]]:
    yield "id", line["id"]
    yield "recording", line.get("recording_id") or line["id"]


def duplicate_ids(lines: Sequence[Line]) -> dict[int, Finding]:
    """Finds lines whose id an earlier line of their split has; index -> finding."""
    found = {}
    seen: dict[tuple, int] = {}
    for index, line in enumerate(lines):
        key = line["id"], line["split"]
        if key in seen:
            same = lines[seen[key]] == line
            detail = "the same again" if same else "the id of something else"
            found[index] = finding("duplicates", line, detail)
        else:
            seen[key] = index
    return found


def bad_spans(line: Line) -> dict[int, Finding]:
    """Finds clips of a line whose times are no span; index of the clip -> finding."""
    found = {}
    for index, clip in enumerate(line.get("clips", ())):
        start_s, end_s = clip["start_s"], clip["end_s"]
        if not 0 <= start_s < end_s < math.inf:
            found[index] = finding("span", line, f"a clip from {start_s} to {end_s} s")
    return found


def clips_beyond_end(line: Line) -> dict[int, Finding]:
    """Finds clips that start after their line's sound ends, by its duration_s."""
    if not line.get("duration_s"):
        return {}
    stop_s = min(line["duration_s"], line.get("end_s") or math.inf)
    found = beyond_end(line.get("clips", ()), stop_s - line.get("start_s", 0.0))
    return {index: finding("beyond", line, text) for index, text in found.items()}


def identical_files(paths: Sequence[str]) -> list[list[int]]:
    """Groups files of the same content, or that are one file by several names.

    Sizes are compared first, then beginnings, then all bytes. Empty files and those
    that cannot be read are in no group.

    Returns:
        Groups of two or more indices into paths, in their order.
    """
    groups = [list(range(len(paths)))]
    for describe in (_size, _beginning, sha256):
        finer = collections.defaultdict(list)
        for number, group in enumerate(groups):
            for index in group:
                try:
                    described = describe(paths[index])
                except OSError:
                    continue
                if described:
                    finer[number, described].append(index)
        groups = [group for group in finer.values() if len(group) > 1]
    return sorted(groups)


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def _beginning(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HASHED)
