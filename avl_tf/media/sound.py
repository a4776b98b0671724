"""Decoded audio frames in, pieces of one unbroken mono waveform out."""

import math
import os
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np

from avl_tf.media.file import MediaFile
from avl_tf.media.levels import Levels, Remedy, mix_weights, to_mono
from avl_tf.media.packets import Frame
from avl_tf.media.progress import TimedFrame

# What a header may ask for: it must not decide how much memory and time a file takes.
MIN_RATE_HZ, MAX_RATE_HZ, MAX_CHANNELS = 4000, 384_000, 64
# Matroska rounds times to 1 ms and live recordings jitter by more: what is below one
# log-mel hop is rounding, what is above the other bound is a broken time.
_MIN_GAP_S, _MAX_GAP_S = Fraction(1, 100), 3600
_ROUNDING_S = Fraction(2, 1000)
_FILTER_TAIL_S = Fraction(1, 10)
# Gaps are filled up to these seconds in all, and one more for so many bytes of a file.
_SILENCE_S, _BYTES_A_SECOND = 600, 1000
_NOTHING = np.zeros(0, np.int16)


def first_second(file: MediaFile, start: Fraction) -> int:
    """Returns the second from which a file's sound must be read to have it at start.

    Sound from a second before lets the filters settle. All rates have a sample on a
    whole second, so a part of a file is, bit for bit, that part of the whole (but for
    the noise AAC makes up). Where times are rounded (Matroska, FLV) only counting from
    the file's start gives that.
    """
    stream = file.stream("audio")
    counts_samples = (
        stream.time_base * stream.codec_context.sample_rate
    ).numerator == 1
    return max(0, math.floor(start) - 1) if counts_samples else 0


class Sound:
    """Lays a file's sound out without a gap, mixes it down and resamples it.

    Args:
        file: where the frames come from; its errors name it.
        sample_rate: Hz wanted.
        start: seconds; the first sample wanted.
        end: seconds; None is the end of the sound.
        remedy: how the sound is to be taken down, as Sound has found on the way that
            it must be; None is the usual way, on the watch.

    Attributes:
        done: no more frames are needed.
    """

    def __init__(
        self,
        file: MediaFile,
        sample_rate: int,
        start: Fraction,
        end: Fraction | None,
        remedy: Remedy | None = None,
    ):
        self.done = False
        self._file, self._end = file, end
        self._base = first_second(file, start)
        self._resampler = av.AudioResampler("s16", "mono", sample_rate)
        self._to_mono: dict[tuple[str, str, int], av.AudioResampler] = {}
        self._levels = None if remedy else Levels(file)
        self._remedy, self._weights = remedy, dict[str, np.ndarray]()
        self._silence_s = _SILENCE_S + os.path.getsize(file.path) / _BYTES_A_SECOND
        # Of the stream, in samples at its own rate from second base on.
        self._rate = self._position = self._n_taken = self._last_begin = 0
        self._start = start - self._base
        self._enough: Fraction | float = math.inf
        self._held: list[np.ndarray] = []
        self._n_held = 0
        self._last_frame: Frame | None = None
        # Of what comes out, in samples at the wanted rate.
        self._n_resampled = 0
        self._first = round(start * sample_rate) - self._base * sample_rate
        self._last = math.inf
        if end is not None:
            self._last = round(end * sample_rate) - self._base * sample_rate
        self._sample_rate = sample_rate

    def feed(self, timed: TimedFrame) -> Iterator[np.ndarray]:
        """Takes the next frame; yields pieces int16 [S] of the waveform, or none."""
        samples = self._mono(timed.frame)
        gap = _round_times(timed.time, self._rate) - self._origin - self._position
        if gap > _MAX_GAP_S * self._rate:
            raise self._file.error(
                f"its sound jumps to {float(timed.time):.0f} s, a broken time"
            )
        if self._position and abs(gap) < self._min_gap:
            gap = 0
        if gap > 0:
            yield from self._silent(gap)
            if self._position > self._enough:
                self.done, self._last_frame = True, None
                return
        # The last samples stay: not all of them may belong to the sound.
        if self._n_held > self._rate:
            yield from self._resampled()
        skipped = max(0, -gap)
        self._listen(timed.frame, skipped, len(samples))
        samples = samples[skipped:]
        self._last_begin = self._position - skipped
        self._position += len(samples)
        self._hold(samples)
        self._last_frame = timed.frame
        self.done = self._position > self._enough

    def finish(self) -> Iterator[np.ndarray]:
        """Yields what is left when no more frames come."""
        if frame := self._last_frame:
            # AAC fills its last packet up; the container counts the samples that
            # belong to it. It counts more where the sound ends with a gap.
            declared = round((frame.duration or 0) * frame.time_base * self._rate)
            n_more = self._last_begin + declared - self._position
            if 0 < declared and n_more < -_ROUNDING_S * self._rate:
                self._held[-1] = self._held[-1][: max(0, len(self._held[-1]) + n_more)]
            elif self._min_gap < n_more <= _MAX_GAP_S * self._rate:
                yield from self._silent(n_more)
        yield from self._resampled()
        yield from self._cut(self._resampler.resample(None))

    def remedy(self) -> Remedy | None:
        """Tells how to take the sound down anew; None if it is fine as it came."""
        if self._levels is None:
            return None
        found = self._levels.remedy()
        if found and found.channels:
            channels = sorted(set(found.channels.values()))
            numbers = " and ".join(str(channel + 1) for channel in channels)
            self._file.note(
                "cancelling channels",
                f"its channels cancel in a mix: channel {numbers} alone is taken",
            )
        return found

    def _hold(self, samples: np.ndarray) -> None:
        self._held.append(samples)
        self._n_held += len(samples)

    def _silent(self, n_samples: int) -> Iterator[np.ndarray]:
        """Lays silence, a little at a time, and no further than is wanted."""
        if self._enough < math.inf:
            n_wanted = max(0, math.ceil(self._enough) - self._position)
            n_samples = min(n_samples, n_wanted + 1)
        self._silence_s -= n_samples / self._rate
        if self._silence_s < 0:
            raise self._file.error(
                "its sound has longer gaps than a file of its size can have, which "
                "makes its times broken ones"
            )
        self._position += n_samples
        while n_samples > 0:
            if self._n_held > self._rate:
                yield from self._resampled()
            piece = min(n_samples, self._rate)
            self._hold(np.zeros(piece, np.int16))
            n_samples -= piece

    def _listen(self, frame: Frame, skipped: int, n_samples: int) -> None:
        """Watches the part of a frame that is asked for, a frame's n_samples long."""
        if self._levels is None:
            return
        # Where the frame's sample 0 is, though the first may be skipped.
        at = self._position - skipped
        first, last = self._wanted
        first, last = max(skipped, first - at), min(n_samples, last - at)
        if n_samples != frame.samples:  # of another rate
            ratio = frame.samples / max(1, n_samples)
            first, last = round(first * ratio), round(last * ratio)
        if first < last:
            self._levels.hear(frame, first, last)

    def _mono(self, frame: av.AudioFrame) -> np.ndarray:
        """Mixes a frame down; int16 [S] at the rate of the stream's first frame."""
        # Format, channels and rate may change on the way (television recordings).
        key = frame.format.name, frame.layout.name, frame.sample_rate
        if key not in self._to_mono:
            self._begin(frame, key)
        if self._remedy:
            frame = self._remedied(frame, self._remedy)
        parts = [_samples(part) for part in self._to_mono[key].resample(frame)]
        return parts[0] if len(parts) == 1 else np.concatenate([_NOTHING, *parts])

    def _begin(self, frame: av.AudioFrame, key: tuple[str, str, int]) -> None:
        """Makes ready for frames of another kind."""
        rate, n_channels = frame.sample_rate, frame.layout.nb_channels
        if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
            raise self._file.error(
                f"its sound has a rate of {rate} Hz, expected {MIN_RATE_HZ} to "
                f"{MAX_RATE_HZ}"
            )
        if n_channels > MAX_CHANNELS:
            raise self._file.error(
                f"its sound has {n_channels} channels, expected {MAX_CHANNELS} at most"
            )
        if not self._rate:
            self._rate, self._origin = rate, self._base * rate
            self._min_gap = math.ceil(_MIN_GAP_S * rate)
            self._wanted = (round(self._start * rate), sys.maxsize)
            if self._end is not None:
                length = self._end - self._base
                self._wanted = self._wanted[0], round(length * rate)
                self._enough = (length + _FILTER_TAIL_S) * rate
        self._to_mono[key] = av.AudioResampler("s16", "mono", self._rate)
        if self._remedy:
            self._weights[frame.layout.name] = mix_weights(frame)

    def _remedied(self, frame: av.AudioFrame, remedy: Remedy) -> av.AudioFrame:
        samples = to_mono(frame, self._weights[frame.layout.name], remedy)[np.newaxis]
        mono = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        mono.sample_rate = frame.sample_rate
        return mono

    def _resampled(self) -> list[np.ndarray]:
        """Resamples what is held, a second or so: single frames would cost more."""
        mono = np.concatenate([_NOTHING, *self._held])
        self._held, self._n_held = [], 0
        if not len(mono):
            return []
        if self._levels:
            first, last = (max(0, at - self._n_taken) for at in self._wanted)
            self._levels.note(mono[first : min(len(mono), last)])
        self._n_taken += len(mono)
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
            n_wanted = min(self._n_resampled, self._last) - self._first
            self._file.refuse(
                self._file.limits.length_refusal(n_wanted / self._sample_rate)
            )
        return pieces


def _round_times(time: Fraction, rate: int) -> int:
    """round(time * rate) without the fraction: this is done for every frame."""
    whole, rest = divmod(time.numerator * rate, time.denominator)
    twice = 2 * rest
    odd_half = twice == time.denominator and whole % 2
    return whole + (twice > time.denominator or bool(odd_half))


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """The samples of a mono frame in 16 bits, without a copy."""
    return np.frombuffer(memoryview(frame.planes[0]), np.int16, frame.samples)
