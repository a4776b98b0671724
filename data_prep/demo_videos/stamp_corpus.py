"""A corpus of narrated slide shows: videos, manifests and data card in one folder."""

import contextlib
import dataclasses
import functools
import os
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from avl_tf import manifest, media
from avl_tf.manifest import SPLITS
from avl_tf.media import SAMPLE_RATE
from avl_tf.whole_files import used
from data_prep.demo_videos import corpus_card, making
from data_prep.demo_videos.corpus_config import CorpusConfig
from data_prep.demo_videos.slideshow import (
    Slide,
    plan_slides,
    render_audio,
    render_slide,
)
from data_prep.demo_videos.stamp_concepts import (
    Concept,
    choose_concepts,
    find_stamps,
)


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
    n_concepts = config.n_concepts or (24 if synthetic else 80)
    config = dataclasses.replace(config, n_concepts=n_concepts)
    concepts = choose_concepts(
        find_stamps(stamps_dir),
        config.languages,
        n_concepts,
        seed=config.seed,
        max_name_s=config.max_name_s,
        max_sound_s=config.max_sound_s,
    )
    lines: dict[str, list[dict[str, Any]]] = {name: [] for name in config.languages}
    for language, split, number in config.videos():
        slides, _ = _plan_video(config, concepts, language, split, number)
        line = corpus_card.manifest_line(config, slides, language, split, number)
        lines[language].append({**line, "synthetic": True} if synthetic else line)
    card = corpus_card.data_card(config, concepts, lines, synthetic)
    corpus_card.check_or_write_card(out_dir, card, CorpusConfig)

    with contextlib.ExitStack() as stack:
        stack.enter_context(used(out_dir))
        for language in config.languages:  # whose folders may hold records too
            stack.enter_context(used(os.path.join(out_dir, language), "videos"))
        _build_missing(concepts, out_dir, config, lines, n_workers)


def _build_missing(
    concepts: list[Concept],
    out_dir: str,
    config: CorpusConfig,
    lines: dict[str, list[dict[str, Any]]],
    n_workers: int,
) -> None:
    """Writes the videos that are not there, then the manifests."""
    for language in config.languages:
        os.makedirs(os.path.join(out_dir, language, "videos"), exist_ok=True)
    videos = config.videos()
    missing = [v for v in videos if not os.path.exists(_video_path(out_dir, *v))]
    logging.info("%s: %d of %d videos to build.", out_dir, len(missing), len(videos))
    make = functools.partial(_write_video, config, concepts, out_dir)
    making.make_all(make, missing, n_workers, "video")
    for language in config.languages:
        path = os.path.join(out_dir, language, "manifest.jsonl")
        manifest.write_manifest(path, lines[language])
        logging.info("%s: %d videos.", path, len(lines[language]))


def _write_video(
    config: CorpusConfig,
    concepts: Sequence[Concept],
    out_dir: str,
    *video: Any,
) -> None:
    slides, rng = _plan_video(config, concepts, *video)
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
