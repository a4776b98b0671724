"""What a corpus of slide shows says of itself: its manifest's lines and data card."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from avl_tf import json_text, manifest, settings
from avl_tf.errors import UserError
from avl_tf.manifest import SPLITS
from avl_tf.media import SAMPLE_RATE
from data_prep.demo_videos.corpus_config import CorpusConfig
from data_prep.demo_videos.slideshow import Slide
from data_prep.demo_videos.stamp_concepts import Concept
from data_prep.demo_videos.stamp_package import PACKAGE


def manifest_line(
    config: CorpusConfig,
    slides: Sequence[Slide],
    language: str,
    split: str,
    number: int,
) -> dict[str, Any]:
    """One recording of the manifest.

    A clip's label lists the concepts whose spoken name is heard in it, wholly or
    partly; natural_sound says whether any natural sound is.
    """
    clips = []
    duration_s = config.n_frames / config.recipe.fps
    for i in range(int(duration_s / config.clip_s + 1e-6)):
        start_s, end_s = round(i * config.clip_s, 6), round((i + 1) * config.clip_s, 6)
        start, end = start_s * SAMPLE_RATE, end_s * SAMPLE_RATE
        heard = [s for s in slides if s.name_start < end and s.name_end > start]
        sounds = [s for s in slides if s.sound_end is not None and s.sound_end > start]
        sounds = [
            s for s in sounds if s.sound_start is not None and s.sound_start < end
        ]
        clips.append(
            {
                "start_s": start_s,
                "end_s": end_s,
                "label": ", ".join(slide.concept.stamp.name for slide in heard),
                "natural_sound": bool(sounds),
            }
        )
    return {
        "id": f"{language}/{split}-{number:04d}",
        "media": f"videos/{split}-{number:04d}.mp4",
        "language": language,
        "split": split,
        "duration_s": duration_s,
        "clips": clips,
        "labels": {
            "slides": [
                {
                    "start_s": slide.start_frame / config.recipe.fps,
                    "end_s": slide.end_frame / config.recipe.fps,
                    "concept": slide.concept.stamp.name,
                    "name_start_s": _seconds(slide.name_start),
                    "name_end_s": _seconds(slide.name_end),
                    "speed": slide.speed,
                    "sound": slide.sound_start is not None,
                    "sound_start_s": _seconds(slide.sound_start),
                    "sound_end_s": _seconds(slide.sound_end),
                }
                for slide in slides
            ]
        },
    }


def _seconds(n_samples: int | None) -> float | None:
    return None if n_samples is None else round(n_samples / SAMPLE_RATE, 6)


def data_card(
    config: CorpusConfig,
    concepts: Sequence[Concept],
    lines: Mapping[str, Sequence[dict[str, Any]]],
    synthetic: bool,
) -> dict[str, Any]:
    """Describes the corpus; equal for equal corpora, so it also tells them apart."""
    counts: dict[str, dict[str, Any]] = {language: {} for language in lines}
    for language, split in ((name, s) for name in lines for s in SPLITS):
        chosen = [line for line in lines[language] if line["split"] == split]
        clips = [clip for line in chosen for clip in line["clips"]]
        counts[language][split] = {
            "videos": len(chosen),
            "hours": round(sum(line["duration_s"] for line in chosen) / 3600, 4),
            "clips": len(clips),
            "clips_with_natural_sound": sum(clip["natural_sound"] for clip in clips),
        }
    return card(config, concepts, counts, synthetic, "videos")


def card(
    config: Any,
    concepts: Sequence[Concept],
    counts: Mapping[str, Any],
    synthetic: bool,
    unseen: str,
) -> dict[str, Any]:
    """What the cards of all corpora tell.

    Args:
        config: of the corpus; has languages and parameters.
        concepts: all that are shown.
        counts: language -> split -> what there is of it.
        synthetic: the stamps are generated.
        unseen: what evaluation has that training had not.
    """
    if synthetic:
        source = "shapes drawn and words synthesised by data_prep.synthetic_stamps"
        licence = "none: generated data"
    else:
        source = f"Tux Paint stamps, Debian package {PACKAGE}"
        licence = (
            "GPL-2, copyright 2002-2022 Bill Kendrick and the stamps' contributors"
        )
    return settings.plain(
        {
            "synthetic": synthetic,
            "source": source,
            "licence": licence,
            "limits": "One picture per concept and one recording (so one speaker) per "
            "name and language, shared by all splits: evaluation is on unseen "
            f"{unseen}, not on unseen speakers or pictures.",
            "parameters": config.parameters,
            "counts": counts,
            "concepts": [
                {
                    "name": concept.stamp.name,
                    "stamp": concept.stamp.path,
                    "natural_sound": concept.sound is not None,
                    "names": {k: concept.stamp.texts.get(k) for k in config.languages},
                }
                for concept in concepts
            ],
        }
    )


def check_or_write_card(out_dir: str, card: dict[str, Any], config_class: type) -> None:
    """Makes sure that the files of two different corpora never mix in a folder."""
    path = os.path.join(out_dir, "corpus.json")
    advice = "Give another --out_dir, or delete this one to build it anew."
    if os.path.exists(path):
        with open(path, "rb") as stream:
            try:
                old = json_text.parse(stream.read(), path, "a JSON file")
                before = {"synthetic": old["synthetic"], **old["parameters"]}
                stamps = old["counts"], old["concepts"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: not a data card. {advice}") from error
        now = {"synthetic": card["synthetic"], **card["parameters"]}
        differing = settings.changes(before, now, config_class)
        if not differing and stamps == (card["counts"], card["concepts"]):
            return
        raise UserError(
            f"{out_dir} holds a corpus built otherwise "
            f"({'; '.join(differing) or 'from other stamps'}). {advice}"
        )
    for language in card["parameters"]["languages"]:
        if os.path.exists(os.path.join(out_dir, language)):
            raise UserError(
                f"{out_dir} has a folder '{language}' but no corpus.json that says how "
                f"it was built. {advice}"
            )
    manifest.write_text(path, json_text.dump(card, indent=1) + "\n")
