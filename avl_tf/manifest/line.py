"""What a line of a manifest must be, for whoever writes one and for who reads it.

A table holds a check a field: no other fields are taken.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from avl_tf import fields
from avl_tf.errors import UserError
from avl_tf.settings.sound import check_audio_track

# Shards add up to 60 characters to it, and a file's name has 255.
_LONGEST_SPLIT = 100
_LATEST_S = 1e8  # three years; times are kept as float32
_LANGUAGE = fields.text(longest=100, one_line=True)
_TIMES = ("start_s", "end_s")
_USUAL = 3  # fields of a clip: its times and its label
_SPLIT_CHARACTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."
)


def fault_of(line: Mapping[str, Any], clips: bool = True) -> str:
    """What read_manifest would say of a line; "" if it is good.

    Args:
        line: its fields.
        clips: look at the times of its clips too.
    """
    try:
        _check(line, clips)
    except UserError as error:
        return str(error)
    return ""


def require_split_name(split: str, place: str) -> None:
    """ValueError, which begins with `place`, if a split's name cannot name files."""
    fields.require(split, _check_split, place)


def require_language(language: str) -> None:
    """UserError if the --language of a program is none that a manifest holds."""
    if not language.strip():
        raise UserError("--language is empty: name what is spoken, such as sw.")
    fields.require({"language": language}, fields.mapping(_LANGUAGE), "--language")


def _check(line: Mapping[str, Any], clips: bool) -> None:
    if unknown := sorted(line.keys() - _FIELDS.keys()):
        raise UserError(f"unknown field '{unknown[0]:.80}'. Known: {sorted(_FIELDS)}.")
    for name, check in _FIELDS.items():
        if name in line:
            check(line[name], name)
        elif name in ("id", "media"):
            raise UserError(f"'{name}' is missing.")
    _check_span(line)
    for clip in line.get("clips", ()) if clips else ():
        if "start_s" not in clip or "end_s" not in clip:
            raise UserError(f"a clip needs start_s and end_s, got {clip!r:.80}.")
        _check_span(clip)


def _check_split(split: Any, path: str) -> None:
    good = (
        isinstance(split, str)
        and 0 < len(split) <= _LONGEST_SPLIT
        and set(split) <= _SPLIT_CHARACTERS
        and not split.startswith(".")
        and split != "progress"
    )
    if not good:
        raise UserError(
            f"split {split!r:.130} names files; use letters, digits, _ and . only, "
            f"{_LONGEST_SPLIT} at most, no . at the beginning, and not 'progress'."
        )


def _check_audio_track(value: Any, path: str) -> None:
    if isinstance(value, str):
        _LANGUAGE(value, path)
    check_audio_track(value)


def _check_clips(clips: Any, path: str) -> None:
    if not isinstance(clips, list | tuple) or not all(
        isinstance(clip, dict) for clip in clips
    ):
        raise UserError(f"'clips' must be a list of objects, got {clips!r:.80}.")
    for index, clip in enumerate(clips):
        label = clip.get("label")
        if isinstance(label, bool | list | dict):
            raise UserError(
                f"'clips[{index}].label' must be a text, got {label!r:.80}."
            )
        # Most are plain text and nothing more, of which there are millions.
        if len(clip) > _USUAL or not isinstance(label, str) or not label.isascii():
            others = {k: v for k, v in clip.items() if k not in _TIMES}
            fields.anything(others, f"clips[{index}]")
        elif "\0" in label:
            fields.anything(label, f"clips[{index}].label")


def _check_span(value: Mapping[str, Any]) -> None:
    start, end = value.get("start_s", 0.0), value.get("end_s")
    numbers = [start] if end is None else [start, end]
    good = all(
        isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= _LATEST_S
        for n in numbers
    )
    if not good or (end is not None and end <= start):
        raise UserError(
            f"a span in seconds needs 0 <= start_s < end_s <= {_LATEST_S:.0e}, got "
            f"start_s={start!r:.40}, end_s={end!r:.40}. Correct it, or take it out."
        )


_FIELDS: dict[str, fields.Check] = {
    "id": fields.text(),
    "media": fields.text(),
    "image": fields.nullable(fields.text()),
    "language": _LANGUAGE,
    "split": _check_split,
    "recording_id": fields.text(),
    "start_s": lambda value, path: None,  # with end_s, by _check_span
    "end_s": lambda value, path: None,
    "clips": _check_clips,
    "labels": fields.mapping(fields.anything, name=fields.text(empty=True)),
    "synthetic": fields.boolean,
    "duration_s": fields.nullable(fields.number(0)),
    "audio_track": _check_audio_track,
}


def beyond_end(clips: Sequence[Mapping[str, Any]], length_s: float) -> dict[int, str]:
    """Finds clips that start after the end of a recording.

    Args:
        clips: of a manifest's line.
        length_s: of its sound, from its start_s on; what is only seen ends nothing. Of
            media without sound, of its pictures.

    Returns:
        Index of a clip -> what is to be told of it.
    """
    return {
        index: f"a clip starts at {clip['start_s']} s, "
        f"the sound ends at {length_s:.2f} s"
        for index, clip in enumerate(clips)
        if clip["start_s"] >= length_s
    }
