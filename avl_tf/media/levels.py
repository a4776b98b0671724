"""Levels of a sound on its way through 16 bits and one channel: does it survive that?

Decoded frames come in; out comes what has to be done differently, if anything has.
"""

import math
from typing import NamedTuple

import av
import numpy as np
from av.codec.codec import Properties

from avl_tf.media.file import MediaFile
from avl_tf.media.packets import Frame

# Channels cancel if their mix has less than this share of the energy that it would
# have, were they unrelated; of two, if they correlate by less than -0.75.
CANCELLED = 0.25
# A peak that 16 bits hold, up to one step of theirs.
_FULL_SCALE = 1 + 2**-15
# What clipping may take of a second's energy where a codec is lossy: its own error goes
# beyond full scale and is clipped as ever (0.019 was seen, of distorted music in AAC).
_OVERSHOOT = 0.02
# Below the first peak 16 bits add noise that a log-mel of 80 dB shows; a lossy codec's
# own is well above it up to the second. Below the last ones (two steps of 24 bits; half
# a step of 16) is silence: dither, and what a codec makes of zeros.
_QUIET = {True: 2**-6, False: 2**-8}
_SILENT = {True: 2**-22, False: 2**-16}
_PEAK = 0.5
# Beyond this, samples are no overshoot of anything.
_LARGE = 2.0**15
# So many frames tell how the channels relate, and so many apart after the first ones.
_ALL_FRAMES, _EVERY_NTH = 64, 16
_NARROW = ("u8", "u8p", "s16", "s16p")
_FLOATING = ("flt", "fltp", "dbl", "dblp")
_TYPES = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32}
_TYPES["dbl"] = np.float64
_UNITS = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31}

# Of a frame: the names of its sample format and its layout.
Key = tuple[str, str]


class Remedy(NamedTuple):
    """How to take a sound down to 16 bits and one channel, if not as usual.

    Attributes:
        gain: what all samples are multiplied by.
        channels: which channel to take of frames of a format and layout; those of
            others are mixed.
    """

    gain: float
    channels: dict[Key, int]


class Levels:
    """Watches a stream's frames, and what has become of them.

    Ordinary sound is looked at as little as possible: looking at every sample takes
    longer than decoding it.

    Args:
        file: where they come from; its errors name it.
    """

    def __init__(self, file: MediaFile):
        self._file = file
        properties = file.stream("audio").codec_context.codec.properties
        self._lossless = bool(properties & Properties.LOSSLESS.value)
        self._clipped = self._audible = False
        self._kinds: dict[Key, _Channels] = {}
        self._recent: list[tuple[Frame, int, int]] = []

    def hear(self, frame: Frame, first: int, last: int) -> None:
        """Takes a frame, of which samples first to last (not included) are wanted.

        Raises:
            MediaError: some of its samples are no finite numbers.
        """
        key = frame.format.name, frame.layout.name
        channels = self._kinds.get(key)
        if channels is None:
            channels = self._kinds[key] = _Channels(frame)
        if channels.several and channels.is_next():
            channels.relate(to_channels(frame)[:, first:last])
        if channels.narrow:
            return
        self._recent.append((frame, first, last))
        # 16 bits say nothing of what is not in them, nor of what is no number.
        if not self._audible or (self._lossless and key[0] in _FLOATING):
            self._examine(channels, frame, first, last)

    def note(self, mono: np.ndarray) -> None:
        """Takes what has become of the frames since the last time, int16 [S].

        Raises:
            MediaError: as hear.
        """
        recent, self._recent = self._recent, []
        if not recent or not len(mono):
            return
        loudest = max(int(mono.max()), -int(mono.min()))
        self._audible |= loudest >= _QUIET[self._lossless] * 32768
        if loudest >= 32767:
            lost, energy = 0.0, 0.0
            for frame, first, last in recent:
                key = frame.format.name, frame.layout.name
                mix = self._examine(self._kinds[key], frame, first, last)
                # Squares of large numbers are beyond float32.
                with np.errstate(over="ignore"):
                    mix = mix.astype(np.float64)
                    excess = np.maximum(np.abs(mix) - _FULL_SCALE, 0)
                    lost, energy = lost + excess @ excess, energy + mix @ mix
            allowed = 0 if self._lossless else _OVERSHOOT
            self._clipped |= bool(lost > allowed * energy)

    def remedy(self) -> Remedy | None:
        """Says what has to be done to the sound that was heard; None for nothing."""
        taken, peak, narrow = {}, 0.0, True
        for key, channels in self._kinds.items():
            loudest = channels.mix_peak
            if channels.peak > _SILENT[self._lossless] and channels.cancel():
                taken[key] = int(np.argmax(np.diag(channels.energies)))
                loudest = channels.peak
            peak, narrow = max(peak, loudest), narrow and channels.narrow
        gain = 1.0
        quiet = _SILENT[self._lossless] < peak < _QUIET[self._lossless]
        quiet = quiet and bool(taken or not self._audible)
        # What is far beyond 16 bits comes out of them as anything, silence too.
        far = peak > (_LARGE if not taken else _FULL_SCALE)
        clipped = self._clipped or far
        if not narrow and (quiet or clipped):
            gain = _PEAK / peak
        return Remedy(gain, taken) if taken or gain != 1 else None

    def _examine(
        self, channels: "_Channels", frame: Frame, first: int, last: int
    ) -> np.ndarray:
        """Looks at every sample of a part of a frame; returns its mix, [S]."""
        mix = channels.mix(to_channels(frame)[:, first:last])
        peak = max(mix.max(), -mix.min())
        if not math.isfinite(peak):
            raise self._file.error("some samples of its sound are no finite numbers")
        channels.mix_peak = max(channels.mix_peak, float(peak))
        return mix


class _Channels:
    """What was heard of frames of one format and layout."""

    def __init__(self, frame: Frame):
        self.narrow = frame.format.name in _NARROW
        self.weights = mix_weights(frame)
        n_channels = len(self.weights)
        self.several = n_channels > 1
        self.energies = np.zeros((n_channels, n_channels))
        self.peak = self.mix_peak = 0.0
        self._n_frames = 0

    def mix(self, samples: np.ndarray) -> np.ndarray:
        """Mixes samples [C, S] down to [S]; what is no number in one stays none."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.weights @ samples if self.several else samples[0]

    def relate(self, samples: np.ndarray) -> None:
        """Takes samples [C, S] that tell how the channels relate."""
        self.peak = max(self.peak, float(samples.max()), -float(samples.min()))
        # Squares of large numbers are beyond float32; others stay as they are.
        if self.peak > _LARGE:
            samples = samples.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            self.energies += samples @ samples.T

    def is_next(self) -> bool:
        """Counts a frame; tells whether it is one of those that are looked at."""
        self._n_frames += 1
        return self._n_frames <= _ALL_FRAMES or self._n_frames % _EVERY_NTH == 0

    def cancel(self) -> bool:
        """Tells whether the mix of the channels is much less than they are."""
        # 5.1's low frequencies do not take part.
        heard = self.weights > 0
        n_heard = int(heard.sum())
        unrelated = np.trace(self.energies[heard][:, heard]) / n_heard**2
        mix = self.weights @ self.energies @ self.weights
        return n_heard > 1 and bool(mix < CANCELLED * unrelated)


def to_channels(frame: Frame) -> np.ndarray:
    """The samples of a frame: floating [C, S], full scale is 1."""
    name, n_channels = frame.format.name, frame.layout.nb_channels
    kind = name.removesuffix("p")
    # PyAV finds the planes of up to 7 channels, and knows no 64 bits.
    if kind not in _TYPES or (name != kind and n_channels > 7):
        (frame,) = av.AudioResampler("dbl", frame.layout, frame.rate).resample(frame)
        name = kind = "dbl"
    n_samples = frame.samples
    if name == kind:
        flat = np.frombuffer(frame.planes[0], _TYPES[kind], n_samples * n_channels)
        samples = flat.reshape(n_samples, n_channels).T
    else:
        planes = frame.planes[:n_channels]
        samples = np.stack(
            [np.frombuffer(plane, _TYPES[kind], n_samples) for plane in planes]
        )
    if kind not in _UNITS:
        return samples
    scaled: np.ndarray = samples.astype(np.float64 if kind == "s32" else np.float32)
    scaled *= _UNITS[kind]
    return scaled - 1 if kind == "u8" else scaled


def mix_weights(frame: Frame) -> np.ndarray:
    """By what FFmpeg multiplies the channels of such a frame for mono; [C], sum 1."""
    n_channels = frame.layout.nb_channels
    if n_channels == 1:
        return np.ones(1, np.float32)
    # One after another, every channel has a sample of 1.
    ones = np.eye(n_channels, dtype=np.float32).reshape(1, -1)
    probe = av.AudioFrame.from_ndarray(ones, "flt", frame.layout)
    probe.sample_rate = frame.sample_rate
    mixed = av.AudioResampler("flt", "mono", frame.sample_rate).resample(probe)
    weights = np.concatenate([to_channels(part)[0] for part in mixed])
    return weights / np.abs(weights).sum()


def to_mono(frame: Frame, weights: np.ndarray, remedy: Remedy) -> np.ndarray:
    """Takes a frame down to int16 [S] as a remedy says."""
    samples = to_channels(frame)
    channel = remedy.channels.get((frame.format.name, frame.layout.name))
    mono = weights @ samples if channel is None else samples[channel]
    scaled = np.round(mono * (remedy.gain * 32768.0))
    return np.clip(scaled, -32768, 32767).astype(np.int16)
