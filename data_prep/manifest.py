"""The manifest: JSON lines, one recording a line, that data_prep.extract reads.

A line holds
    id          unique in the manifest
    media       a video (or, with "image", an audio) file; relative to the manifest
    image       a still image that stands for the visual side, optional
    language    e.g. "sw"; split: e.g. "train"; both may be left out
    recording_id  what the split is made by, when several lines share one source
    start_s, end_s  the span of the media that is meant; the whole of it if left out
    clips       [{"start_s", "end_s", "label"}, ...] in seconds from start_s, optional
    duration_s  for the reader's information only
    labels      anything, kept in the record; synthetic: true for generated data
Every adapter writes this file and nothing else; no TensorFlow here, so that adapters
start at once.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from avl_tf.errors import UserError
from avl_tf.whole_files import replacing

# Of the corpora that are dealt here; published ones may have others.
SPLITS = ("train", "val", "eval")
_SPLIT_CHARACTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
)


@dataclasses.dataclass(frozen=True)
class Recording:
    """One line of a manifest; media and image are paths that can be opened."""

    id: str
    media: str
    image: str | None = None
    language: str = "und"
    split: str = "all"
    recording_id: str = ""
    start_s: float = 0.0
    end_s: float | None = None
    clips: tuple[dict[str, Any], ...] = ()
    labels: dict[str, Any] = dataclasses.field(default_factory=dict)
    synthetic: bool = False


def read_manifest(path: str) -> list[Recording]:
    """Reads and checks a manifest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty or a line is wrong; names the file, the line, and
            what is expected there.
    """
    require_local(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such manifest.")
    folder = os.path.dirname(os.path.abspath(path))
    recordings: list[Recording] = []
    seen: dict[str, int] = {}
    with open(path, encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                recording = _parse_line(line, f"{path}, line {number}", folder)
                if recording.id in seen:
                    raise UserError(
                        f"{path}, line {number}: id '{recording.id}' stands in line "
                        f"{seen[recording.id]} already. Ids must be unique."
                    )
                seen[recording.id] = number
                recordings.append(recording)
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not a UTF-8 text file ({error}).") from error
    if not recordings:
        raise UserError(f"{path}: the manifest is empty. Write one recording a line.")
    _check_splits(recordings, path)
    return recordings


def write_manifest(path: str, lines: Iterable[dict[str, Any]]) -> None:
    """Writes manifest lines (dicts), the whole file or nothing."""
    _write(path, (json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def write_text(path: str, text: str) -> None:
    """Writes a local text file, whole or not at all."""
    _write(path, [text])


def require_local(path: str) -> None:
    """ValueError if a path is a URL, which would become a local folder of that name."""
    if "://" in path:
        raise UserError(
            f"{path}: manifests and media are local files; copy it to a local folder, "
            "or mount it as one. Only records and runs can be remote."
        )


def path_in_manifest(media: str, manifest: str) -> str:
    """How a manifest names a file: relative if below the manifest's folder.

    Otherwise absolute: "../" would lead elsewhere where a folder is a symbolic link.
    """
    media = os.path.abspath(media)
    folder = os.path.join(os.path.dirname(os.path.abspath(manifest)), "")
    return media.removeprefix(folder)


def require_split_name(split: str, place: str) -> None:
    """ValueError, which begins with `place`, if a split's name cannot name files."""
    if not split or not set(split) <= _SPLIT_CHARACTERS:
        raise UserError(
            f"{place}: split '{split}' names files; use letters, digits, _ and . only."
        )


def require_shares(fractions: Mapping[str, float]) -> None:
    """Makes sure that fractions are shares of 1; ValueError if not."""
    shares = list(fractions.values())
    if not all(share > 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise UserError(
            f"the fractions of the splits are {shares}: expected numbers above 0 that "
            "sum to 1."
        )


def split_by_recording(
    recording_ids: Iterable[str], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deals recordings to splits at random.

    Which comes first is decided by a hash of the seed and the id, so that recordings
    that are added later move few of the others.

    Args:
        recording_ids: in any order; an id that comes twice counts once.
        fractions: split -> its share; they sum to 1.
        seed: another seed, another deal.

    Returns:
        Recording id -> split. A split's number of recordings is its share of them,
        rounded; at least one.

    Raises:
        ValueError: the fractions are not shares of 1, or there are fewer recordings
            than splits.
    """
    require_shares(fractions)
    shares = list(fractions.values())

    def place(recording_id: str) -> bytes:
        return hashlib.sha256(f"{seed}:{recording_id}".encode()).digest()

    order = sorted(set(recording_ids), key=place)
    if len(order) < len(shares):
        raise UserError(f"{len(order)} recordings cannot fill {len(shares)} splits.")
    sizes = [max(1, round(share * len(order))) for share in shares]
    while extra := sum(sizes) - len(order):
        # The largest split pays for what rounding has added or lost.
        sizes[sizes.index(max(sizes))] -= 1 if extra > 0 else -1
    names = [name for name, n in zip(fractions, sizes, strict=True) for _ in range(n)]
    return dict(zip(order, names, strict=True))


def _write(path: str, pieces: Iterable[str]) -> None:
    require_local(path)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as out:
        out.writelines(pieces)


def _parse_line(line: str, place: str, folder: str) -> Recording:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place}: not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a JSON object, got {line.strip()[:60]}.")
    value.pop("duration_s", None)
    known = {field.name for field in dataclasses.fields(Recording)}
    if unknown := sorted(set(value) - known):
        raise UserError(
            f"{place}: unknown field '{unknown[0]}'. Known: {sorted(known)}."
        )
    for name in ("id", "media", "image", "language", "split", "recording_id"):
        required = name in ("id", "media")
        text = value.get(name, None if required else "-")
        if text is None and name == "image":
            continue
        if not isinstance(text, str) or not text:
            raise UserError(f"{place}: '{name}' must be a text, got {text!r}.")
    if "split" in value:
        require_split_name(value["split"], place)
    for name in ("media", "image"):
        if value.get(name):
            value[name] = os.path.join(folder, value[name])
    _check_span(value, place)
    clips = value.get("clips", [])
    if not isinstance(clips, list) or not all(isinstance(c, dict) for c in clips):
        raise UserError(f"{place}: 'clips' must be a list of objects, got {clips!r}.")
    for clip in clips:
        if "start_s" not in clip or "end_s" not in clip:
            raise UserError(f"{place}: a clip needs start_s and end_s, got {clip}.")
        _check_span(clip, place)
    value["clips"] = tuple(clips)
    if not isinstance(value.get("labels", {}), dict):
        raise UserError(f"{place}: 'labels' must be an object.")
    value.setdefault("recording_id", value["id"])
    return Recording(**value)


def _check_span(value: dict[str, Any], place: str) -> None:
    start, end = value.get("start_s", 0.0), value.get("end_s")
    numbers = [start] if end is None else [start, end]
    good = all(
        isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n < float("inf")
        for n in numbers
    )
    if not good or (end is not None and end <= start):
        raise UserError(
            f"{place}: a span in seconds needs 0 <= start_s < end_s, got start_s="
            f"{start!r}, end_s={end!r}. Correct it, or take it out."
        )


def _check_splits(recordings: list[Recording], path: str) -> None:
    split_of: dict[str, str] = {}
    for recording in recordings:
        split = split_of.setdefault(recording.recording_id, recording.split)
        if split != recording.split:
            raise UserError(
                f"{path}: recording '{recording.recording_id}' is in the splits "
                f"'{split}' and '{recording.split}'. Put all its lines in one."
            )
