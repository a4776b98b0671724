"""Draws a folder of stamps for machines that cannot have the real ones, and for tests.

Laid out as Debian's tuxpaint-stamps-default, so that data_prep.stamps reads both alike:
NAME.png a shape in a colour on a transparent ground, NAME.txt its English name,
NAME_desc_LANG.wav a "word" (a few gliding tones) and, for every second stamp, NAME.wav
a "natural sound" (pulses of noise) that all languages share. A file depends on nothing
but its name: writing the folder twice gives the same bytes.
"""

import os
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from avl_tf import media
from avl_tf.media import SAMPLE_RATE

_IMAGE_SIZE = 160
_FADE_S = 0.01

_COLOURS = {
    "red": (214, 40, 40),
    "orange": (247, 140, 20),
    "yellow": (250, 220, 40),
    "green": (40, 150, 60),
    "blue": (30, 90, 210),
    "violet": (130, 50, 160),
    "pink": (250, 150, 190),
    "black": (30, 30, 30),
}


def _polygon(n_corners: int, depth: float = 1.0) -> Callable[..., np.ndarray]:
    """A polygon, or a star where depth < 1 pulls the middles of its sides inwards."""
    half = np.pi / n_corners
    middle = depth * np.cos(half)

    def inside(x, y):
        # The line from a corner (radius 1) to the middle of its side, in polar form.
        turn = np.arctan2(x, y) % (2 * half)
        off_corner = np.minimum(turn, 2 * half - turn)
        edge = np.sin(off_corner) + middle * np.sin(half - off_corner)
        return np.hypot(x, y) * edge < middle * np.sin(half)

    return inside


_SHAPES = {
    "circle": lambda x, y: np.hypot(x, y) < 0.95,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.7) < 0.25,
    "triangle": _polygon(3),
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.85,
    "hexagon": _polygon(6),
    "star": _polygon(5, depth=0.5),
    "burst": _polygon(9, depth=0.6),
    "cross": lambda x, y: np.minimum(abs(x), abs(y)) < 0.28,
    "moon": lambda x, y: (np.hypot(x, y) < 0.95) & (np.hypot(x - 0.45, y) > 0.75),
    "heart": lambda x, y: (x * x + (1.3 * y - abs(x) ** 0.6 + 0.15) ** 2) < 0.85,
    "ladder": lambda x, y: (
        (abs(abs(x) - 0.55) < 0.12) | ((abs(x) < 0.6) & (np.cos(10 * y) > 0.6))
    ),
    "dots": lambda x, y: np.hypot(abs(x) - 0.5, abs(y) - 0.5) < 0.38,
}


def write_synthetic_stamps(folder: str, languages: Sequence[str]) -> None:
    """Writes 96 stamps (12 shapes in 8 colours), every second one with a sound.

    Args:
        folder: where to; made if it is not there, same files in it are overwritten.
        languages: names of the languages that get a word for each stamp; any name will
            do, words of two languages have nothing in common.
    """
    os.makedirs(folder, exist_ok=True)
    for shape_index, (shape, inside) in enumerate(_SHAPES.items()):
        for colour_index, (colour, rgb) in enumerate(_COLOURS.items()):
            name = f"{colour}_{shape}"
            stem = os.path.join(folder, name)
            media.write_image(f"{stem}.png", _draw(inside, rgb))
            with open(f"{stem}.txt", "w", encoding="utf-8") as text:
                text.write(f"A {colour} {shape}.\n")
            for language in languages:
                media.write_wav(
                    f"{stem}_desc_{language}.wav", word(language, name), SAMPLE_RATE
                )
            if (shape_index + colour_index) % 2 == 0:
                media.write_wav(f"{stem}.wav", natural_sound(name), SAMPLE_RATE)


def word(language: str, name: str) -> np.ndarray:
    """Synthesises the name of a stamp in a language.

    Returns:
        float32 [S] at SAMPLE_RATE, range [-1, 1], 0.5 to 1.2 s: three or four tones
        with overtones, each gliding from one pitch to another.
    """
    rng = np.random.default_rng(
        [zlib.crc32(language.encode()), zlib.crc32(name.encode())]
    )
    syllables = []
    for _ in range(rng.integers(3, 5)):
        n_samples = int(rng.uniform(0.15, 0.28) * SAMPLE_RATE)
        begin_hz, end_hz = rng.uniform(150, 900, size=2)
        pitch_hz = np.geomspace(begin_hz, end_hz, n_samples)
        phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
        overtones = rng.uniform(0.1, 1.0, size=5)
        tone = sum(
            strength * np.sin(phase * (k + 1)) for k, strength in enumerate(overtones)
        )
        syllables += [_faded(tone), np.zeros(int(0.02 * SAMPLE_RATE))]
    return _scaled(np.concatenate(syllables))


def natural_sound(name: str) -> np.ndarray:
    """Synthesises the sound of a stamp, the same in every language.

    Returns:
        float32 [S] at SAMPLE_RATE, range [-1, 1], 0.8 to 1.4 s: noise in one band of
        frequencies, pulsing.
    """
    rng = np.random.default_rng(
        [zlib.crc32(b"natural sound"), zlib.crc32(name.encode())]
    )
    n_samples = int(rng.uniform(0.8, 1.4) * SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.normal(size=n_samples))
    frequency_hz = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE)
    octaves_off = np.log2(np.maximum(frequency_hz, 1.0) / rng.uniform(300, 5000))
    noise = np.fft.irfft(spectrum * np.exp(-((octaves_off / 0.3) ** 2)), n_samples)
    pulses_hz = rng.uniform(2, 15)
    time_s = np.arange(n_samples) / SAMPLE_RATE
    envelope = 0.5 - 0.5 * np.cos(2 * np.pi * pulses_hz * time_s)
    return _scaled(_faded(noise * envelope))


def _draw(inside: Callable[..., np.ndarray], rgb: tuple[int, int, int]) -> np.ndarray:
    y, x = np.mgrid[1 : -1 : _IMAGE_SIZE * 1j, -1 : 1 : _IMAGE_SIZE * 1j]
    image = np.zeros((_IMAGE_SIZE, _IMAGE_SIZE, 4), np.uint8)
    image[inside(x, y)] = (*rgb, 255)
    return image


def _faded(waveform: np.ndarray) -> np.ndarray:
    ramp = np.linspace(0.0, 1.0, int(_FADE_S * SAMPLE_RATE))
    waveform[: len(ramp)] *= ramp
    waveform[-len(ramp) :] *= ramp[::-1]
    return waveform


def _scaled(waveform: np.ndarray) -> np.ndarray:
    return (0.7 * waveform / np.abs(waveform).max()).astype(np.float32)
