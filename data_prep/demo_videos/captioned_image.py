"""One image of several stamps, and what is said of it: concepts in, arrays out."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from avl_tf.media import SAMPLE_RATE
from data_prep.demo_videos.corpus_config import Recipe
from data_prep.demo_videos.slideshow import as_picture, background, put_stamp, speak
from data_prep.demo_videos.stamp_concepts import Concept


@dataclasses.dataclass(frozen=True)
class SpokenName:
    """A name in a caption; samples from its start, and whether its sound is before."""

    concept: Concept
    start: int
    end: int
    speed: float
    with_sound: bool


def render_image(
    recipe: Recipe, concepts: Sequence[Concept], rng: np.random.Generator
) -> np.ndarray:
    """Draws concepts on a background, each in a cell of its own of a square grid.

    Returns:
        uint8 [recipe.height, recipe.width, 3].
    """
    frame = background(recipe.height, recipe.width, rng)
    n_cells = math.ceil(math.sqrt(len(concepts)))
    height, width = recipe.height // n_cells, recipe.width // n_cells
    cells = rng.permutation(n_cells**2)[: len(concepts)]
    for concept, cell in zip(concepts, cells, strict=True):
        top, left = height * (cell // n_cells), width * (cell % n_cells)
        place = frame[top : top + height, left : left + width]
        put_stamp(place, concept.image, recipe.scale, rng)
    return as_picture(frame)


def render_caption(
    recipe: Recipe,
    concepts: Sequence[Concept],
    language: str,
    rng: np.random.Generator,
) -> tuple[list[SpokenName], np.ndarray]:
    """Says the names of concepts in a random order, over faint noise.

    Returns:
        The names as they come, and the waveform: float32 [S] at SAMPLE_RATE, in
        [-1, 1].
    """
    spoken: list[SpokenName] = []
    parts: list[np.ndarray] = []
    for index in rng.permutation(len(concepts)):
        concept = concepts[index]
        with_sound = rng.random() < recipe.sound_probability
        speed = rng.uniform(*recipe.speed)
        name_gain, sound_gain = rng.uniform(*recipe.gain, size=2)
        parts.append(_silence(recipe.lead_s))
        if with_sound and concept.sound is not None:
            parts += [sound_gain * concept.sound, _silence(recipe.gap_s)]
        start = sum(map(len, parts))
        parts.append(name_gain * speak(concept.names[language], speed))
        end = start + len(parts[-1])
        with_sound = bool(with_sound and concept.sound is not None)
        spoken.append(SpokenName(concept, start, end, speed, with_sound))
    waveform = np.concatenate([*parts, _silence(recipe.tail_s)])
    waveform += recipe.noise * rng.standard_normal(len(waveform), np.float32)
    return spoken, np.clip(waveform, -1.0, 1.0).astype(np.float32)


def _silence(duration_s: float) -> np.ndarray:
    return np.zeros(int(duration_s * SAMPLE_RATE), np.float32)
