"""Sound and videos of known speech: a voice between noise, music and silence."""

import pathlib

import numpy as np

from avl_tf import media

RATE = 16000
_SPEECH = pathlib.Path(__file__).parent / "data" / "speech.ogg"
# Where the voice is in the recording, seconds.
_BEGINS_S, _ENDS_S = 0.25, 6.75


def speech(speed=1.0):
    """The voice alone; at another speed its pitch and so its fingerprint are others."""
    waveform = media.read_waveform(_SPEECH)
    waveform = waveform[round(_BEGINS_S * RATE) : round(_ENDS_S * RATE)]
    times = np.arange(0, len(waveform) - 1, speed)
    return np.interp(times, np.arange(len(waveform)), waveform).astype(np.float32)


def noise(seconds, amplitude=0.05, seed=0):
    random = np.random.default_rng(seed)
    return amplitude * random.standard_normal(round(seconds * RATE)).astype(np.float32)


def silence(seconds):
    return noise(seconds, 1e-4)


def music(seconds, seed=0):
    """Chords of plucked strings, three a second."""
    random = np.random.default_rng(seed)
    waveform = np.zeros(round(seconds * RATE) + RATE, np.float32)
    time = np.arange(RATE) / RATE
    for start in range(0, round(seconds * RATE), RATE // 3):
        for pitch in random.integers(40, 80, 3):
            hz = 440 * 2 ** ((pitch - 69) / 12)
            string = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 6))
            waveform[start : start + RATE] += 0.08 * np.exp(-4 * time) * string
    return waveform[: round(seconds * RATE)]


def scene():
    """(waveform, [(start_s, end_s), ...]): all kinds of sound, and where speech is."""
    parts = [
        (silence(2), False),
        (speech(), True),
        (noise(6), False),
        (music(6), False),
        (silence(1), False),
        (speech(1.08), True),
        (silence(2), False),
    ]
    ends = np.cumsum([len(part) / RATE for part, _ in parts])
    spans = [
        (end - len(part) / RATE, end)
        for (part, spoken), end in zip(parts, ends, strict=True)
        if spoken
    ]
    return np.concatenate([part for part, _ in parts]), spans


def pictures(seconds, fps=5, seed=0, height=72, width=128):
    """Coloured boxes before a background, others every second."""
    random = np.random.default_rng(seed)
    for index in range(round(seconds * fps)):
        if index % fps == 0:
            image = np.empty((height, width, 3), np.uint8)
            image[:] = random.integers(0, 256, 3)
            for _ in range(6):
                top, left = (
                    random.integers(0, height - 20),
                    random.integers(0, width - 30),
                )
                box = image[top : top + height // 3, left : left + width // 4]
                box[:] = random.integers(0, 256, 3)
        yield image


def write_narrated(path, speed=1.0, n_sentences=2, seed=0):
    """A video in which the sentence is said n times, between noise and music."""
    parts = []
    for number in range(n_sentences):
        parts += [music(3, seed=[seed, number]), speech(speed), noise(1, seed=seed)]
    waveform = np.concatenate(parts)
    media.write_video(
        path, pictures(len(waveform) / RATE, seed=seed), 5, waveform, RATE
    )
    return path
