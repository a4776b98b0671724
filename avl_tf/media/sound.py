"""Decoded audio frames in, pieces of one unbroken mono waveform out."""

import math
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from avl_tf.media.file import MediaFile
from avl_tf.media.packets import Frame
from avl_tf.media.progress import TimedFrame

# Hz, the authors', of all sound that is not asked for at another rate.
SAMPLE_RATE = 16000
# Matroska rounds times to 1 ms and live recordings jitter by more: what is below one
# log-mel hop is rounding, what is above the other bound is a broken time.
_MIN_GAP_S, _MAX_GAP_S = Fraction(1, 100), 3600
_ROUNDING_S = Fraction(2, 1000)
_FILTER_TAIL_S = Fraction(1, 10)
_SILENCE = np.zeros(0, np.int16)


def first_second(file: MediaFile, start: Fraction) -> int:
    """Returns the second from which a file's sound must be read to have it at start.

    Sound from a second before lets the filters settle. All rates have a sample on a
    whole second, so a part of a file is, bit for bit, that part of the whole (but for
    the noise AAC makes up). Where times are rounded (Matroska, FLV) only counting from
    the file's start gives that.
    """
    return max(0, math.floor(start) - 1) if file.counts_samples() else 0


class Sound:
    """Lays a file's sound out without a gap, mixes it down and resamples it.

    Args:
        file: where the frames come from; its errors name it.
        sample_rate: Hz wanted.
        start: seconds; the first sample wanted.
        end: seconds; None is the end of the sound.

    Attributes:
        done: no more frames are needed.
    """

    def __init__(
        self, file: MediaFile, sample_rate: int, start: Fraction, end: Fraction | None
    ):
        self.done = False
        self._file, self._end = file, end
        self._base = first_second(file, start)
        self._resampler = av.AudioResampler("s16", "mono", sample_rate)
        self._to_mono: dict[tuple[str, str, int], av.AudioResampler] = {}
        # Of the stream, in samples at its own rate from second base on.
        self._rate = self._position = 0
        self._held: list[np.ndarray] = []
        self._n_held = 0
        self._last_frame: Frame | None = None
        # Of what comes out, in samples at the wanted rate.
        self._n_resampled = 0
        self._first = round(start * sample_rate) - self._base * sample_rate
        self._last = math.inf
        if end is not None:
            self._last = round(end * sample_rate) - self._base * sample_rate

    def feed(self, timed: TimedFrame) -> list[np.ndarray]:
        """Takes the next frame; returns pieces int16 [S] of the waveform, or none."""
        samples = self._mono(timed.frame)
        gap = round((timed.time - self._base) * self._rate) - self._position
        if gap > _MAX_GAP_S * self._rate:
            raise self._file.error(
                f"its sound jumps to {float(timed.time):.0f} s, a broken time"
            )
        if self._position and abs(gap) < self._min_gap:
            gap = 0
        samples = np.pad(samples, (gap, 0)) if gap > 0 else samples[-gap:]
        self._position += len(samples)
        # The last samples stay: not all of them may belong to the sound.
        pieces = self._resampled() if self._n_held > self._rate else []
        self._held.append(samples)
        self._n_held += len(samples)
        self._last_frame = timed.frame
        if self._end is not None:
            enough = (self._end - self._base + _FILTER_TAIL_S) * self._rate
            self.done = self._position > enough
        return pieces

    def finish(self) -> list[np.ndarray]:
        """Returns what is left when no more frames come."""
        if frame := self._last_frame:
            # AAC fills its last packet up; the container counts the samples that
            # belong to it.
            declared = round((frame.duration or 0) * frame.time_base * self._rate)
            if 0 < declared < len(self._held[-1]) - _ROUNDING_S * self._rate:
                self._held[-1] = self._held[-1][:declared]
        return self._resampled() + self._cut(self._resampler.resample(None))

    def _mono(self, frame: av.AudioFrame) -> np.ndarray:
        """Mixes a frame down; int16 [S] at the rate of the stream's first frame."""
        if not self._rate:
            self._rate = frame.sample_rate
            self._min_gap = _MIN_GAP_S * self._rate
        # Format, channels and rate may change on the way (television recordings).
        key = frame.format.name, frame.layout.name, frame.sample_rate
        if key not in self._to_mono:
            self._to_mono[key] = av.AudioResampler("s16", "mono", self._rate)
        parts = [_samples(part) for part in self._to_mono[key].resample(frame)]
        return parts[0] if len(parts) == 1 else np.concatenate([_SILENCE, *parts])

    def _resampled(self) -> list[np.ndarray]:
        """Resamples what is held, a second or so: single frames would cost more."""
        mono = np.concatenate([_SILENCE, *self._held])
        self._held, self._n_held = [], 0
        if not len(mono):
            return []
        frame = av.AudioFrame.from_ndarray(mono[np.newaxis], "s16", "mono")
        frame.sample_rate = self._rate
        return self._cut(self._resampler.resample(frame))

    def _cut(self, frames: Sequence[av.AudioFrame | None]) -> list[np.ndarray]:
        """Leaves of resampled frames what lies from the start to the end."""
        pieces = []
        for frame in frames:
            if frame is None:
                continue
            samples = _samples(frame)
            first = max(0, self._first - self._n_resampled)
            last = max(0, min(len(samples), self._last - self._n_resampled))
            self._n_resampled += len(samples)
            if first < last:
                pieces.append(samples[first:last])
        return pieces


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """The samples of a mono frame in 16 bits, without a copy."""
    return np.frombuffer(memoryview(frame.planes[0]), np.int16, frame.samples)
