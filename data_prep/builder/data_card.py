"""What a corpus holds and how it was made, for those who get it: JSON and Markdown."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from avl_tf import wording
from avl_tf.manifest import write_text
from data_prep.builder.clip_selection import VideoClip


def describe_clips(clips: Sequence[VideoClip]) -> dict[str, Any]:
    """Counts clips and measures them."""
    lengths_s = np.array([clip.end_s - clip.start_s for clip in clips])
    card: dict[str, Any] = {
        "videos": len({clip.video for clip in clips}),
        "clips": len(clips),
        "hours": round(float(lengths_s.sum()) / 3600, 3),
    }
    if len(clips):
        card["clip_s"] = {
            "shortest": round(float(lengths_s.min()), 2),
            "median": round(float(np.median(lengths_s)), 2),
            "mean": round(float(lengths_s.mean()), 2),
            "longest": round(float(lengths_s.max()), 2),
        }
    return card


def write(folder: str, card: dict[str, Any]) -> None:
    """Writes FOLDER/data_card.json and the same as FOLDER/data_card.md.

    Args:
        folder: where to.
        card: name -> text, number, list, or a dict of them; "splits" is a dict of
            describe_clips' dicts.
    """
    text = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    write_text(os.path.join(folder, "data_card.json"), text)
    write_text(os.path.join(folder, "data_card.md"), _to_markdown(card))


def _to_markdown(card: dict[str, Any]) -> str:
    lines = ["# Data card", "", "| | |", "| --- | --- |"]
    tables = []
    for name, value in card.items():
        if name == "splits":
            tables += _splits_table(value)
        elif name == "near_duplicates":
            lines.append(f"| groups of near-duplicates | {len(value)} |")
            tables += _duplicates_list(value)
        elif isinstance(value, dict):
            lines += [
                f"| {_words(name)}: {_words(k)} | {wording.cell(v)} |"
                for k, v in value.items()
            ]
        else:
            lines.append(f"| {_words(name)} | {wording.cell(value)} |")
    return "\n".join([*lines, *tables, ""])


def _splits_table(splits: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "",
        "## Splits",
        "",
        "| split | clips wanted | videos | clips | hours | clip length, s: shortest, "
        "median, mean, longest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, split in splits.items():
        lengths = ", ".join(str(value) for value in split.get("clip_s", {}).values())
        numbers = (split[key] for key in ("wanted", "videos", "clips", "hours"))
        lines.append(f"| {name} | {' | '.join(map(str, numbers))} | {lengths} |")
    return lines


def _duplicates_list(groups: Sequence[dict[str, Any]]) -> list[str]:
    if not groups:
        return []
    lines = ["", "## Near-duplicates, each group in one split", ""]
    for group in groups:
        videos = ", ".join(wording.cell(video) for video in group["videos"])
        lines.append(f"- the same {' and '.join(group['same'])}: {videos}")
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")
