"""Plans and renders a narrated slide show: concepts in, frames and a waveform out."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from avl_tf import media
from avl_tf.errors import UserError
from avl_tf.media import SAMPLE_RATE
from data_prep.demo_videos.corpus_config import Recipe
from data_prep.demo_videos.stamp_concepts import Concept


@dataclasses.dataclass(frozen=True)
class Slide:
    """One showing of a concept: frames, and samples from the start of the video."""

    concept: Concept
    start_frame: int
    end_frame: int
    name_start: int
    name_end: int
    sound_start: int | None
    sound_end: int | None
    speed: float
    name_gain: float
    sound_gain: float


def plan_slides(
    recipe: Recipe,
    concepts: Sequence[Concept],
    language: str,
    n_frames: int,
    rng: np.random.Generator,
) -> list[Slide]:
    """Decides what is shown and said when in a video of n_frames.

    Returns:
        Slides without a gap between them, concepts in the order of a shuffled bag that
        is refilled when empty. The last slide stays until the end of the video.

    Raises:
        ValueError: the video is too short for a single slide.
    """
    slides: list[Slide] = []
    bag: list[int] = []
    start_frame = 0
    while True:
        bag = bag or rng.permutation(len(concepts)).tolist()
        concept = concepts[bag.pop()]
        with_sound = rng.random() < recipe.sound_probability
        speed = rng.uniform(*recipe.speed)
        name_gain, sound_gain = rng.uniform(*recipe.gain, size=2)
        shown_s = rng.uniform(*recipe.slide_s)

        start = start_frame * SAMPLE_RATE // recipe.fps
        name_start = start + int(recipe.lead_s * SAMPLE_RATE)
        sound_start = sound_end = None
        if with_sound and concept.sound is not None:
            sound_start, sound_end = name_start, name_start + len(concept.sound)
            name_start = sound_end + int(recipe.gap_s * SAMPLE_RATE)
        name_end = name_start + _spoken_length(concept.names[language], speed)
        needed_s = (name_end - start) / SAMPLE_RATE + recipe.tail_s
        end_frame = start_frame + math.ceil(max(shown_s, needed_s) * recipe.fps)
        if end_frame > n_frames:
            break
        slides.append(
            Slide(
                concept=concept,
                start_frame=start_frame,
                end_frame=end_frame,
                name_start=name_start,
                name_end=name_end,
                sound_start=sound_start,
                sound_end=sound_end,
                speed=speed,
                name_gain=name_gain,
                sound_gain=sound_gain,
            )
        )
        start_frame = end_frame
    if not slides:
        raise UserError(
            f"A video of {n_frames / recipe.fps:g} s is too short for a slide of "
            f"{(end_frame - start_frame) / recipe.fps:g} s. Make the videos longer."
        )
    slides[-1] = dataclasses.replace(slides[-1], end_frame=n_frames)
    return slides


def render_audio(
    recipe: Recipe, slides: Sequence[Slide], language: str, rng: np.random.Generator
) -> np.ndarray:
    """Mixes the names and sounds of the slides over faint noise.

    Returns:
        float32 [S] at SAMPLE_RATE, range [-1, 1], as long as the slides.
    """
    n_samples = slides[-1].end_frame * SAMPLE_RATE // recipe.fps
    waveform = recipe.noise * rng.standard_normal(n_samples, np.float32)
    for slide in slides:
        name = speak(slide.concept.names[language], slide.speed)
        waveform[slide.name_start : slide.name_end] += slide.name_gain * name
        sound = slide.concept.sound
        if slide.sound_start is not None and sound is not None:
            waveform[slide.sound_start : slide.sound_end] += slide.sound_gain * sound
    return np.clip(waveform, -1.0, 1.0)


def speak(name: np.ndarray, speed: float) -> np.ndarray:
    """Plays a recording [S] faster (speed > 1, and higher) or slower: [S / speed]."""
    places = np.arange(_spoken_length(name, speed)) * speed
    return np.interp(places, np.arange(len(name)), name).astype(np.float32)


def _spoken_length(name: np.ndarray, speed: float) -> int:
    return int(len(name) / speed)


def render_slide(
    recipe: Recipe, image: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Puts a stamp on a background, both in a random variant.

    Args:
        recipe: gives the sizes.
        image: uint8 [H, W, 4], colours multiplied by alpha.
        rng: what the variant is drawn from.

    Returns:
        uint8 [recipe.height, recipe.width, 3].
    """
    frame = background(recipe.height, recipe.width, rng)
    put_stamp(frame, image, recipe.scale, rng)
    return as_picture(frame)


def put_stamp(
    frame: np.ndarray,
    image: np.ndarray,
    scale: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Puts a stamp at a random place of a frame, in a random size.

    Args:
        frame: float32 [H, W, 3], or a part of one; it is changed.
        image: uint8 [h, w, 4], colours multiplied by alpha.
        scale: range of its size relative to the largest that fits.
        rng: what size and place are drawn from.
    """
    fit = min(frame.shape[0] / image.shape[0], frame.shape[1] / image.shape[1])
    fit *= rng.uniform(*scale)
    height, width = (max(1, round(side * fit)) for side in image.shape[:2])
    top = rng.integers(frame.shape[0] - height + 1)
    left = rng.integers(frame.shape[1] - width + 1)
    stamp = media.resize(image, height, width).astype(np.float32)
    place = frame[top : top + height, left : left + width]
    place *= 1.0 - stamp[..., 3:] / 255.0
    place += stamp[..., :3]


def as_picture(frame: np.ndarray) -> np.ndarray:
    """Rounds a frame to uint8."""
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draws a plain colour, a gradient or soft blotches: float32 [height, width, 3]."""
    n_rows, n_columns = [(1, 1), (2, 2), (4, 5)][rng.integers(3)]
    grid = rng.uniform(40, 215, 3) + rng.uniform(-60, 60, (n_rows, n_columns, 3))
    for axis, size in ((0, height), (1, width)):
        places = np.linspace(0, grid.shape[axis] - 1, size)
        below = np.floor(places).astype(int)
        above = np.minimum(below + 1, grid.shape[axis] - 1)
        part = np.expand_dims(places - below, (1 - axis, 2))
        grid = grid.take(below, axis) * (1 - part) + grid.take(above, axis) * part
    return np.clip(grid, 0, 255).astype(np.float32)
