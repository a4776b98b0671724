"""A corpus of images with spoken captions: files, manifests and card in one folder."""

import contextlib
import functools
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from avl_tf import manifest, media
from avl_tf.manifest import SPLITS
from avl_tf.media import SAMPLE_RATE
from avl_tf.whole_files import used
from data_prep.demo_videos import corpus_card, making
from data_prep.demo_videos.captioned_image import (
    SpokenName,
    render_caption,
    render_image,
)
from data_prep.demo_videos.image_config import ImageCorpusConfig
from data_prep.demo_videos.stamp_concepts import (
    Concept,
    choose_concepts,
    find_stamps,
)

# Of an image, as the captions' are named by their languages.
_IMAGE = "the image"
_COMBINATIONS = "the combinations"


def build_corpus(
    stamps_dir: str,
    out_dir: str,
    config: ImageCorpusConfig,
    *,
    synthetic: bool = False,
    n_workers: int = 1,
) -> None:
    """Writes the data card, the images and captions that are missing, the manifests.

    Args:
        stamps_dir: folder of stamps.
        out_dir: folder of the corpus.
        config: what to build.
        synthetic: the stamps are generated ones; the card and every line will say so.
        n_workers: number of processes.

    Raises:
        FileNotFoundError: stamps_dir holds no stamps.
        ValueError: the stamps do not suffice, or out_dir holds another corpus.
    """
    concepts = choose_concepts(
        find_stamps(stamps_dir),
        config.languages,
        config.n_concepts,
        seed=config.seed,
        max_name_s=config.max_name_s,
        max_sound_s=config.max_sound_s,
    )
    shown = combinations(config)
    lines = {
        language: [
            {**line, "synthetic": True} if synthetic else line
            for line in _lines(config, concepts, shown, language)
        ]
        for language in config.languages
    }
    card = corpus_card.card(
        config, concepts, _counts(lines), synthetic, "combinations and showings"
    )
    corpus_card.check_or_write_card(out_dir, card, ImageCorpusConfig)

    with contextlib.ExitStack() as stack:
        stack.enter_context(used(out_dir, "images"))
        os.makedirs(os.path.join(out_dir, "images"), exist_ok=True)
        for language in config.languages:  # whose folders may hold records too
            folder = os.path.join(out_dir, language)
            stack.enter_context(used(folder, "captions"))
            os.makedirs(os.path.join(folder, "captions"), exist_ok=True)
        jobs = [
            (split, number, members)
            for split in SPLITS
            for number, members in enumerate(shown[split])
            if _missing(out_dir, config, split, number)
        ]
        n_images = sum(map(len, shown.values()))
        logging.info("%s: %d of %d images to make.", out_dir, len(jobs), n_images)
        make = functools.partial(_make, config, concepts, out_dir)
        making.make_all(make, jobs, n_workers, "image")
        for language in config.languages:
            path = os.path.join(out_dir, language, "manifest.jsonl")
            manifest.write_manifest(path, lines[language])
            logging.info("%s: %d captions.", path, len(lines[language]))


def combinations(config: ImageCorpusConfig) -> dict[str, list[tuple[int, ...]]]:
    """Draws which concepts are in each image.

    Returns:
        Split -> numbers of concepts, ascending, an image. No two images of val and eval
        have the same, and none of them has what an image of train has. Fewer training
        images are the first of more.
    """
    sizes = range(config.min_names, config.max_names + 1)
    held_out: set[tuple[int, ...]] = set()
    drawn: dict[str, list[tuple[int, ...]]] = {}
    for split in ("eval", "val", "train"):
        rng = _random(config, split, _COMBINATIONS)
        drawn[split] = []
        while len(drawn[split]) < config.n_images[split]:
            size = sizes[rng.integers(len(sizes))]
            found = rng.choice(config.n_concepts, size, replace=False)
            members = tuple(sorted(found.tolist()))
            if members not in held_out:
                drawn[split].append(members)
                if split != "train":
                    held_out.add(members)
    return drawn


def _lines(
    config: ImageCorpusConfig,
    concepts: Sequence[Concept],
    shown: Mapping[str, Sequence[tuple[int, ...]]],
    language: str,
) -> list[dict[str, Any]]:
    """A language's manifest."""
    lines = []
    for split in SPLITS:
        for number in range(config.n_captions(language, split)):
            members = shown[split][number]
            spoken, waveform = _caption(
                config, concepts, language, split, number, members
            )
            name = _name(split, number)
            lines.append(
                {
                    "id": f"{language}/{name}",
                    "media": f"captions/{name}.wav",
                    "image": f"../images/{name}.jpg",
                    "language": language,
                    "split": split,
                    "recording_id": name,
                    "duration_s": len(waveform) / SAMPLE_RATE,
                    "labels": {
                        "names": [one.concept.stamp.name for one in spoken],
                        "spans_s": [
                            [one.start / SAMPLE_RATE, one.end / SAMPLE_RATE]
                            for one in spoken
                        ],
                        "speeds": [one.speed for one in spoken],
                        "sounds": [one.with_sound for one in spoken],
                    },
                }
            )
    return lines


def _counts(lines: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    counts: dict[str, dict[str, Any]] = {language: {} for language in lines}
    for language, split in ((name, s) for name in lines for s in SPLITS):
        chosen = [line for line in lines[language] if line["split"] == split]
        durations_s = [line["duration_s"] for line in chosen]
        names = [len(line["labels"]["names"]) for line in chosen]
        sounds = [sum(line["labels"]["sounds"]) for line in chosen]
        counts[language][split] = {
            "images": len(chosen),
            "hours": round(sum(durations_s) / 3600, 4),
            "longest_s": round(max(durations_s, default=0.0), 3),
            "names": sum(names),
            "names_with_natural_sound": sum(sounds),
        }
    return counts


def _make(
    config: ImageCorpusConfig,
    concepts: Sequence[Concept],
    out_dir: str,
    split: str,
    number: int,
    members: Sequence[int],
) -> None:
    """Writes of one image and its captions what is not there."""
    for kind, path in _missing(out_dir, config, split, number):
        if kind == _IMAGE:
            shown = [concepts[i] for i in members]
            rng = _random(config, split, _IMAGE, number)
            media.write_image(path, render_image(config.recipe, shown, rng))
        else:
            _, waveform = _caption(config, concepts, kind, split, number, members)
            media.write_wav(path, waveform, SAMPLE_RATE)


def _missing(
    out_dir: str, config: ImageCorpusConfig, split: str, number: int
) -> list[tuple[str, str]]:
    """(_IMAGE or language, path) of the files of an image that are not there."""
    name = _name(split, number)
    wanted = [(_IMAGE, os.path.join(out_dir, "images", f"{name}.jpg"))]
    wanted += [
        (language, os.path.join(out_dir, language, "captions", f"{name}.wav"))
        for language in config.languages
        if number < config.n_captions(language, split)
    ]
    return [one for one in wanted if not os.path.exists(one[1])]


def _caption(
    config: ImageCorpusConfig,
    concepts: Sequence[Concept],
    language: str,
    split: str,
    number: int,
    members: Sequence[int],
) -> tuple[list[SpokenName], np.ndarray]:
    rng = _random(config, split, language, number)
    shown = [concepts[i] for i in members]
    return render_caption(config.recipe, shown, language, rng)


def _random(
    config: ImageCorpusConfig, split: str, kind: str, number: int = 0
) -> np.random.Generator:
    """A random stream of its own for whatever is drawn."""
    key = [config.seed, zlib.crc32(kind.encode()), SPLITS.index(split), number]
    return np.random.default_rng(key)


def _name(split: str, number: int) -> str:
    return f"{split}-{number:05d}"
