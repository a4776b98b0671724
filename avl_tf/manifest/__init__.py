"""The manifest: JSON lines, one recording a line, that data_prep.extract reads.

A line holds
    id          unique in the manifest
    media       a video (or, with "image", an audio) file; relative to the manifest
    image       a still image that stands for the visual side, optional
    language    e.g. "sw"; split: e.g. "train"; both may be left out
    recording_id  what the split is made by, when several lines share one source
    audio_track  which sound of the media is meant, if not the one whose language tag is
                the line's: a number from 0 (FFmpeg's 0:a:N) or the track's language
    start_s, end_s  the span of the media that is meant; the whole of it if left out
    clips       [{"start_s", "end_s", "label"}, ...] in seconds from start_s, optional
    duration_s  for the reader's information only
    labels      anything, kept in the record; synthetic: true for generated data
manifest_line.py says what each must be. A line that is something else costs itself.
Every adapter writes this file and nothing else; no TensorFlow here, so that adapters
start at once.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any

from avl_tf import json_text
from avl_tf.errors import UserError
from avl_tf.manifest.line import fault_of
from avl_tf.settings import setting
from avl_tf.settings.sound import Wanted, check_audio_track
from avl_tf.whole_files import replacing

# Of the corpora that are dealt here; published ones may have others.
SPLITS = ("train", "val", "eval")
_SHOWN = 200


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
    audio_track: int | str | None = None

    @property
    def wanted(self) -> Wanted:
        """Which sound of the media is meant."""
        return Wanted(self.language, self.audio_track)


@dataclasses.dataclass(frozen=True)
class SoundConfig:
    """Which sound of media is meant where no line says so."""

    audio_track: str | None = setting(
        None,
        "Which sound is meant where no line of a manifest has an audio_track: a "
        "number, from 0, among the audio tracks of a file (FFmpeg's 0:a:N), or a "
        "language tag; if left out the track in the language, else the default one, "
        "with a note.",
    )

    @property
    def track(self) -> int | str | None:
        """audio_track as a line has it; UserError if it can be none."""
        return parse_audio_track(self.audio_track)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A line that is no recording; id is "line 7" where it has none, media maybe ""."""

    id: str
    media: str
    reason: str


def read_manifest(path: str) -> list[Recording]:
    """Reads and checks a manifest; as sift_manifest, but a wrong line is an error."""
    recordings, faults = sift_manifest(path)
    if faults:
        raise UserError(faults[0].reason)
    return recordings


def sift_manifest(path: str) -> tuple[list[Recording], list[Fault]]:
    """Reads a manifest: the lines that are good, and what is wrong with the others.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: no line is good, or an id stands twice, or a recording is in two
            splits; names the file, the line, and what is expected there.
    """
    require_local(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such manifest.")
    folder = os.path.dirname(os.path.abspath(path))
    recordings: list[Recording] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}
    # Bytes that are no UTF-8 become halves of characters, for their line to be told.
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            value = None
            try:
                value = _object(line, place)
                recording = _recording(value, place, folder)
            except UserError as error:
                faults.append(_fault(number, value, str(error)))
                continue
            if recording.id in seen:
                raise UserError(
                    f"{place}: id '{recording.id}' stands in line "
                    f"{seen[recording.id]} already. Ids must be unique."
                )
            seen[recording.id] = number
            recordings.append(recording)
    if not recordings and not faults:
        raise UserError(f"{path}: the manifest is empty. Write one recording a line.")
    if not recordings:
        raise UserError(faults[0].reason)
    _check_splits(recordings, path)
    return recordings, faults


def write_manifest(path: str, lines: Iterable[dict[str, Any]]) -> None:
    """Writes manifest lines (dicts), the whole file or nothing.

    Raises:
        UserError: a line is one that read_manifest would refuse.
    """

    def checked() -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            if fault := fault_of(line):
                raise UserError(f"{path}, line {number}: {fault}")
            yield json_text.dump(line) + "\n"

    _write(path, checked())


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


def parse_audio_track(text: str | None) -> int | str | None:
    """A text as a line has its audio_track; None if it is not given."""
    check_audio_track(text)
    return int(text) if text and text.strip().isdecimal() else text


def _write(path: str, pieces: Iterable[str]) -> None:
    require_local(path)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as out:
        out.writelines(pieces)


def _object(line: str, place: str) -> dict[str, Any]:
    value = json_text.load(line, place)
    if not isinstance(value, dict):
        raise UserError(f"{place}: expected a JSON object, got {line.strip()[:60]}.")
    return value


def _recording(value: dict[str, Any], place: str, folder: str) -> Recording:
    if fault := fault_of(value):
        raise UserError(f"{place}: {fault}")
    made = {k: v for k, v in value.items() if k != "duration_s"}
    for name in ("media", "image"):
        if made.get(name):
            made[name] = os.path.join(folder, made[name])
    made["clips"] = tuple(made.get("clips", ()))
    made.setdefault("recording_id", made["id"])
    return Recording(**made)


def _fault(number: int, value: Any, reason: str) -> Fault:
    """What stands for a line; by its number where it has no id that can be used."""

    def usable(name: str) -> str:
        text = value.get(name) if isinstance(value, dict) else None
        good = isinstance(text, str) and not json_text.fault_of(text)
        return text[:_SHOWN] if isinstance(text, str) and good else ""

    return Fault(usable("id") or f"line {number}", usable("media"), reason)


def _check_splits(recordings: list[Recording], path: str) -> None:
    split_of: dict[str, str] = {}
    for recording in recordings:
        split = split_of.setdefault(recording.recording_id, recording.split)
        if split != recording.split:
            raise UserError(
                f"{path}: recording '{recording.recording_id}' is in the splits "
                f"'{split}' and '{recording.split}'. Put all its lines in one."
            )
