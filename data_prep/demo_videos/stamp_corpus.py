"""A corpus of narrated slide shows: videos, manifests and data card in one folder."""

import dataclasses
import json
import math
import multiprocessing
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import tqdm
from absl import logging

from avl_tf import media
from avl_tf.errors import UserError
from data_prep import manifest
from data_prep.demo_videos.slideshow import (
    Recipe,
    Slide,
    plan_slides,
    render_audio,
    render_slide,
)
from data_prep.demo_videos.stamp_concepts import (
    PACKAGE,
    SAMPLE_RATE,
    Concept,
    choose_concepts,
    find_stamps,
)

SPLITS = ("train", "val", "eval")


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """All that a corpus depends on beside the stamps.

    Attributes:
        languages: one manifest each.
        train_videos: number of training videos of each language.
        val_videos, eval_videos: numbers per language.
        n_concepts: number of stamps, half of them with a natural sound.
        video_s, clip_s: lengths in seconds; a video is rounded up to whole frames.
        max_name_s, max_sound_s: see choose_concepts.
        seed: of every random choice.
        recipe: see Recipe.

    Raises:
        ValueError: settings that do not go together; names them.
    """

    languages: tuple[str, ...]
    train_videos: Mapping[str, int]
    val_videos: int = 10
    eval_videos: int = 20
    n_concepts: int = 80
    video_s: float = 45.0
    clip_s: float = 6.0
    max_name_s: float = 2.6
    max_sound_s: float = 1.5
    seed: int = 0
    recipe: Recipe = Recipe()

    def __post_init__(self) -> None:
        names = self.languages
        if not names or len(set(names)) < len(names):
            raise UserError(f"languages {list(names)}: give at least one, none twice.")
        for name in names:
            if not re.fullmatch(r"[A-Za-z][A-Za-z_]*", name):  # it names a folder
                raise UserError(f"language '{name}': expected a code such as es.")
        if set(self.train_videos) != set(names):
            raise UserError(
                f"training videos are given for {sorted(self.train_videos)}, but the "
                f"languages are {sorted(names)}: give one for each."
            )
        counts = [*self.train_videos.values(), self.val_videos, self.eval_videos]
        if min(counts) < 0 or min(counts[:-2]) + self.val_videos + self.eval_videos < 1:
            raise UserError(
                f"numbers of videos are {dict(self.train_videos)} for training, "
                f"{self.val_videos} for validation, {self.eval_videos} for evaluation: "
                "none may be negative, and every language needs at least one video."
            )
        if not 0 < self.clip_s <= self.video_s < math.inf:
            raise UserError(
                f"a video has {self.video_s:g} s and a clip {self.clip_s:g} s: a video "
                "must hold at least one clip. Make videos longer or clips shorter."
            )

    @property
    def n_frames(self) -> int:
        """Number of frames in a video."""
        return math.ceil(self.video_s * self.recipe.fps - 1e-6)

    def videos(self) -> list[tuple[str, str, int]]:
        """(language, split, number) of every video, in the manifests' order."""
        counts = {"val": self.val_videos, "eval": self.eval_videos}
        return [
            (language, split, number)
            for language in self.languages
            for split in SPLITS
            for number in range(counts.get(split, self.train_videos[language]))
        ]


def build_corpus(
    stamps_dir: str,
    out_dir: str,
    config: CorpusConfig,
    *,
    synthetic: bool = False,
    n_workers: int = 1,
) -> None:
    """Writes the data card, the videos that are missing, and the manifests.

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
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in config.languages}
    for language, split, number in config.videos():
        slides, _ = _plan_video(config, concepts, language, split, number)
        line = _manifest_line(config, slides, language, split, number)
        lines[language].append({**line, "synthetic": True} if synthetic else line)
    _check_or_write_card(out_dir, _data_card(config, concepts, lines, synthetic))

    for language in config.languages:
        os.makedirs(os.path.join(out_dir, language, "videos"), exist_ok=True)
    videos = config.videos()
    missing = [v for v in videos if not os.path.exists(_video_path(out_dir, *v))]
    logging.info("%s: %d of %d videos to build.", out_dir, len(missing), len(videos))
    # Spawned, not forked: decoders have run in this process and left threads and locks.
    pool = ProcessPoolExecutor(
        max(1, min(n_workers, len(missing))),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_worker,
        initargs=(config, concepts, out_dir),
    )
    try:
        with pool:
            built = pool.map(_write_video, missing)
            for _ in tqdm.tqdm(built, total=len(missing), unit="video", disable=None):
                pass
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died, perhaps for want of memory. Run again with fewer "
            "--workers: the videos that are whole are kept."
        ) from error
    for language in config.languages:
        path = os.path.join(out_dir, language, "manifest.jsonl")
        manifest.write_manifest(path, lines[language])
        logging.info("%s: %d videos.", path, len(lines[language]))


_worker: dict[str, Any] = {}


def _set_worker(config: CorpusConfig, concepts: list[Concept], out_dir: str) -> None:
    """Keeps in a worker process what all its videos need: it is sent only once."""
    _worker.update(config=config, concepts=concepts, out_dir=out_dir)


def _write_video(video: tuple[str, str, int]) -> None:
    config, out_dir = _worker["config"], _worker["out_dir"]
    slides, rng = _plan_video(config, _worker["concepts"], *video)
    waveform = render_audio(config.recipe, slides, video[0], rng)

    def frames():
        for slide in slides:
            frame = render_slide(config.recipe, slide.concept.image, rng)
            for _ in range(slide.end_frame - slide.start_frame):
                yield frame

    path = _video_path(out_dir, *video)
    media.write_video(path, frames(), config.recipe.fps, waveform, SAMPLE_RATE)


def _plan_video(
    config: CorpusConfig,
    concepts: Sequence[Concept],
    language: str,
    split: str,
    number: int,
) -> tuple[list[Slide], np.random.Generator]:
    """The slides of a video, and the random stream to render them with."""
    key = [config.seed, zlib.crc32(language.encode()), SPLITS.index(split), number]
    rng = np.random.default_rng(key)
    return plan_slides(config.recipe, concepts, language, config.n_frames, rng), rng


def _video_path(out_dir: str, language: str, split: str, number: int) -> str:
    return os.path.join(out_dir, language, "videos", f"{split}-{number:04d}.mp4")


def _manifest_line(
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
        sounds = [s for s in slides if s.sound_start is not None]
        sounds = [s for s in sounds if s.sound_start < end and s.sound_end > start]
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


def _data_card(
    config: CorpusConfig,
    concepts: Sequence[Concept],
    lines: Mapping[str, Sequence[dict[str, Any]]],
    synthetic: bool,
) -> dict[str, Any]:
    """Describes the corpus; equal for equal corpora, so it also tells them apart."""
    if synthetic:
        source = "shapes drawn and words synthesised by data_prep.synthetic_stamps"
        licence = "none: generated data"
    else:
        source = f"Tux Paint stamps, Debian package {PACKAGE}"
        licence = (
            "GPL-2, copyright 2002-2022 Bill Kendrick and the stamps' contributors"
        )
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
    card = {
        "synthetic": synthetic,
        "source": source,
        "licence": licence,
        "limits": "One picture per concept and one recording (so one speaker) per name "
        "and language, shared by all splits: evaluation is on unseen videos, not on "
        "unseen speakers or pictures.",
        "parameters": dataclasses.asdict(config),
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
    return json.loads(json.dumps(card))  # tuples become lists, as in the file


def _check_or_write_card(out_dir: str, card: dict[str, Any]) -> None:
    """Makes sure that the videos of two different corpora never mix in a folder."""
    path = os.path.join(out_dir, "corpus.json")
    advice = "Give another --out_dir, or delete this one to build it anew."
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            try:
                old = json.load(stream)
                before = {"synthetic": old["synthetic"], **old["parameters"]}
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: not a data card. {advice}") from error
        if old == card:
            return
        now = {"synthetic": card["synthetic"], **card["parameters"]}
        differing = [
            f"{key} was {before.get(key)}, now {now[key]}"
            for key in now
            if before.get(key) != now[key]
        ]
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
    manifest.write_text(path, json.dumps(card, indent=1, ensure_ascii=False) + "\n")
