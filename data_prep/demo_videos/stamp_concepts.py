"""Stamps: pictures with their names spoken in many languages, found and decoded.

Comes in: a folder laid out as Debian's package tuxpaint-stamps-default: NAME.png,
NAME.txt, NAME_desc_LANG.ogg and, for some, a natural sound NAME.ogg (or .wav).
Goes out: Concepts, that is arrays, for data_prep.demo_videos.slideshow.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from absl import logging

from avl_tf import media
from avl_tf.errors import UserError
from avl_tf.media import SAMPLE_RATE
from data_prep.demo_videos.stamp_package import PACKAGE

_TRIM_DB = -40.0  # relative to the loudest 20 ms of a recording
_SILENT = 1e-3  # some of the package's sounds are placeholders: files of zeros
_MIN_NAME_S = 0.1


@dataclasses.dataclass(frozen=True)
class Stamp:
    """The files of one stamp.

    Attributes:
        path: relative to the folder of stamps, without suffix.
        name: in English.
        texts: the name in other languages, where the stamp has it.
        image: picture file.
        recordings: language -> file with the spoken name.
        sound: file with the natural sound, or None.
    """

    path: str
    name: str
    texts: dict[str, str]
    image: str
    recordings: dict[str, str]
    sound: str | None


@dataclasses.dataclass(frozen=True)
class Concept:
    """A stamp, decoded.

    Attributes:
        stamp: where it comes from.
        image: uint8 [H, W, 4], cropped to what is visible, colours multiplied by alpha.
        names: language -> float32 [S] at SAMPLE_RATE, trimmed, all equally loud.
        sound: the same for the natural sound, cut; None if there is none.
    """

    stamp: Stamp
    image: np.ndarray
    names: dict[str, np.ndarray]
    sound: np.ndarray | None


def find_stamps(folder: str) -> list[Stamp]:
    """Lists the stamps in a folder that have a spoken name, those in `symbols` not.

    `symbols` holds letters, numbers and coins, which a picture net cannot tell apart.

    Raises:
        FileNotFoundError: there is no such folder, or no stamp in it.
    """
    stamps = []
    for directory, _, files in sorted(os.walk(folder)):
        relative = os.path.relpath(directory, folder)
        if "symbols" in relative.split(os.sep):
            continue
        recordings: dict[str, dict[str, str]] = {}
        for file in sorted(files):
            if match := re.fullmatch(r"(.+)_desc_([A-Za-z_]+)\.(ogg|wav)", file):
                languages = recordings.setdefault(match[1], {})
                languages.setdefault(match[2], os.path.join(directory, file))
        for name in sorted(recordings):
            stem = os.path.join(directory, name)
            if f"{name}.png" not in files:
                continue
            sounds = [s for s in (".ogg", ".wav") if name + s in files]
            english, texts = _read_names(stem)
            stamps.append(
                Stamp(
                    path=os.path.normpath(os.path.join(relative, name)),
                    name=english or name.replace("_", " "),
                    texts=texts,
                    image=f"{stem}.png",
                    recordings=recordings[name],
                    sound=stem + sounds[0] if sounds else None,
                )
            )
    if not stamps:
        raise FileNotFoundError(
            f"{folder}: no stamps there. Expected NAME.png with NAME_desc_LANG.ogg "
            f"beside it, as in Debian's package {PACKAGE}."
        )
    return stamps


def choose_concepts(
    stamps: Sequence[Stamp],
    languages: Sequence[str],
    n_concepts: int,
    *,
    seed: int = 0,
    max_name_s: float = 2.6,
    max_sound_s: float = 1.5,
) -> list[Concept]:
    """Draws and decodes the stamps of a corpus, half of them with a natural sound.

    Of the stamps with one English name a single one can be drawn, if possible one with
    a sound. If there are too few with (or without) a sound, others take their place.

    Args:
        stamps: what to choose from.
        languages: that a stamp must have its name in.
        n_concepts: how many to choose.
        seed: of the choice.
        max_name_s: longest name in any of the languages, silence trimmed.
        max_sound_s: where natural sounds are cut.

    Raises:
        ValueError: there are no names in a language, or not enough stamps.
    """
    n_names = Counter(language for stamp in stamps for language in stamp.recordings)
    for language in languages:
        if language not in n_names:
            there = ", ".join(f"{name} {n}" for name, n in sorted(n_names.items()))
            raise UserError(
                f"language '{language}': no stamp has a spoken name in it. Languages "
                f"there are, and their numbers of names: {there}."
            )
    unique: dict[str, Stamp] = {}
    for stamp in stamps:
        if all(language in stamp.recordings for language in languages):
            other = unique.get(stamp.name.casefold())
            if other is None or (stamp.sound and not other.sound):
                unique[stamp.name.casefold()] = stamp
    candidates = sorted(unique.values(), key=lambda stamp: stamp.path)
    order = np.random.default_rng(seed).permutation(len(candidates))

    wanted = {True: n_concepts // 2, False: n_concepts - n_concepts // 2}
    chosen: list[Concept] = []
    spare: list[Stamp] = []
    for stamp in [candidates[i] for i in order]:
        if not wanted[stamp.sound is not None]:
            spare.append(stamp)
        elif concept := _load_concept(stamp, languages, max_name_s, max_sound_s):
            if wanted[concept.sound is not None]:
                wanted[concept.sound is not None] -= 1
                chosen.append(concept)
            else:  # its sound proved silent, and those without are complete
                spare.append(stamp)
    for stamp in spare:
        if len(chosen) == n_concepts:
            break
        if concept := _load_concept(stamp, languages, max_name_s, max_sound_s):
            chosen.append(concept)
    if len(chosen) < n_concepts:
        raise UserError(
            f"{n_concepts} concepts asked for, but only {len(chosen)} stamps have a "
            f"name of up to {max_name_s:g} s in all of {', '.join(languages)}. Ask for "
            "fewer concepts or fewer languages."
        )
    return sorted(chosen, key=lambda concept: concept.stamp.path)


def _read_names(stem: str) -> tuple[str, dict[str, str]]:
    """Reads STEM.txt: the English name without its article, and the other languages."""
    try:
        with open(f"{stem}.txt", encoding="utf-8", errors="replace") as text:
            first, *others = text.read().splitlines() or [""]
    except FileNotFoundError:
        return "", {}
    name = re.sub(r"\s*\([^)]*\)", "", first).strip(" .!")
    name = re.sub(r"^(a|an|the|some)\s+", "", name, flags=re.IGNORECASE)
    pairs = (line.split(".utf8=", 1) for line in others if ".utf8=" in line)
    return name, {language: text.strip() for language, text in pairs}


def _load_concept(
    stamp: Stamp, languages: Sequence[str], max_name_s: float, max_sound_s: float
) -> Concept | None:
    """Decodes a stamp; None if a name is too long or, with a warning, a file is bad."""
    names = {}
    try:
        for language in languages:
            name = _load_recording(stamp.recordings[language])
            if not _MIN_NAME_S <= len(name) / SAMPLE_RATE <= max_name_s:
                return None
            names[language] = _equalise(name)
        sound = _load_recording(stamp.sound) if stamp.sound else np.zeros(0)
        image = media.read_image(stamp.image)
    except media.MediaError as error:
        logging.warning("The stamp %s is left out: %s", stamp.path, error)
        return None
    visible = image[..., 3] > 8
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    if not len(rows):
        logging.warning("The stamp %s is left out: it is transparent.", stamp.path)
        return None
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # Multiplied by alpha before it is ever resized, or the hidden colour of transparent
    # pixels bleeds into the edges.
    alpha = image[..., 3:].astype(np.uint16)
    colours = (image[..., :3] * alpha + 127) // 255
    return Concept(
        stamp=stamp,
        image=np.concatenate([colours, alpha], axis=-1).astype(np.uint8),
        names=names,
        sound=_equalise(sound[: int(max_sound_s * SAMPLE_RATE)])
        if len(sound)
        else None,
    )


def _load_recording(path: str) -> np.ndarray:
    """Decodes a recording and trims silence at both ends; empty if all is silent."""
    waveform = media.read_waveform(path, SAMPLE_RATE)
    waveform = waveform - waveform.mean() if len(waveform) else waveform
    window = SAMPLE_RATE // 50
    padded = np.pad(waveform, (0, -len(waveform) % window)).reshape(-1, window)
    level = np.sqrt(np.mean(padded**2, axis=1))
    if not len(level) or level.max() < _SILENT:
        return waveform[:0]
    loud = np.flatnonzero(level > level.max() * 10 ** (_TRIM_DB / 20))
    return waveform[loud[0] * window : (loud[-1] + 1) * window]


def _equalise(waveform: np.ndarray) -> np.ndarray:
    """Brings a recording to an RMS of 0.1, or a peak of 0.9 if less, and fades it."""
    scale = 0.1 / np.sqrt(np.mean(waveform**2))
    waveform = waveform * min(scale, 0.9 / np.abs(waveform).max())
    n_fade = min(SAMPLE_RATE // 100, len(waveform) // 2)
    ramp = np.linspace(0.0, 1.0, n_fade, dtype=np.float32)
    waveform[:n_fade] *= ramp
    waveform[len(waveform) - n_fade :] *= ramp[::-1]
    return waveform
