"""What is left of a video when it is encoded anew: hashes of its sound and its frames.

Waveforms and frames come in, little by little; out goes a Fingerprint: hashes and
their times. A copy at another bit rate, size or level, or cut at its ends, has many of
the same hashes, all shifted by the same time; near_duplicates finds them.
"""

import numpy as np

from avl_tf.media import SAMPLE_RATE
from avl_tf.near_duplicates import Fingerprint, pack, thin

FRAMES_FPS = 2.0
# Pixels that the decoder scales the shorter side to; hash_frame does the rest.
FRAMES_SHORT_SIDE = 36

# Chosen by measurement: of speech and music cut by 3.41 s at its start and encoded anew
# a third of the hashes stay at 64 kbit/s and a fifteenth at 24 (AAC); windows half as
# long, or compared over 32 ms as in the source, keep half of that, or none.
_WINDOW, _HOP, _LAG = 8192, 512, 16
_N_BANDS, _LOW_HZ, _HIGH_HZ = 29, 300.0, 3400.0
# One in so many hashes is kept, chosen by its value, so that copies keep the same.
_KEPT = 2
# Below this mean square a window is silence, whose bits are the codec's noise.
_SILENCE = 1e-7
_GRID, _COLOUR_GRID = (5, 8), (2, 2)
# A frame without contrast (a black or a white one) is nobody's own.
_MIN_CONTRAST = 8.0
# Levels; less is a plain background, or the encoder's doing.
_MIN_STEP, _MIN_TINT = 3.0, 10.0


class AudioFingerprint:
    """Hashes sound as it comes, in blocks of any length.

    A bit of a hash tells whether the difference of energy between two neighbouring
    bands of frequency has grown within half a second: level and equalisation cancel.

    Source: Haitsma and Kalker 2002, A Highly Robust Audio Fingerprinting System.
    Differs: 28 bits, longer windows further apart, compared over a longer time; one
        hash in two is kept.
    """

    def __init__(self) -> None:
        self._waveform = np.zeros(0, np.float32)
        self._steps = np.zeros((0, _N_BANDS - 1), np.float32)
        self._n_hashed = 0
        self._found: list[Fingerprint] = []

    def feed(self, waveform: np.ndarray) -> None:
        """Takes the next float32 [S] at SAMPLE_RATE."""
        sound = np.concatenate([self._waveform, waveform])
        n_windows = max(0, 1 + (len(sound) - _WINDOW) // _HOP)
        self._waveform = sound[n_windows * _HOP :]
        if not n_windows:
            return
        windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
        powers = np.square(np.abs(np.fft.rfft(windows * _HANN)))
        steps = np.diff(np.log(powers @ _BANDS + 1e-12), axis=1)
        steps = np.concatenate([self._steps, steps])
        self._steps = steps[-_LAG:]
        hashes = pack(steps[_LAG:] > steps[:-_LAG])
        loud = np.mean(np.square(windows), axis=1) > _SILENCE
        kept = np.flatnonzero(loud[len(loud) - len(hashes) :] & thin(hashes, _KEPT))
        times_s = (kept + self._n_hashed) * _HOP / SAMPLE_RATE
        self._found.append(Fingerprint(hashes[kept], times_s.astype(np.float32)))
        self._n_hashed += len(hashes)

    def finish(self) -> Fingerprint:
        """Returns the fingerprint of all that was fed."""
        return Fingerprint(
            np.concatenate([np.zeros(0, np.uint64), *(f.hashes for f in self._found)]),
            np.concatenate(
                [np.zeros(0, np.float32), *(f.times_s for f in self._found)]
            ),
        )


class FramesFingerprint:
    """Hashes frames as they come, FRAMES_FPS a second.

    A bit of a hash tells whether a cell of a coarse grid is brighter than the one to
    its left, or whether a quarter of the frame is tinted: sizes and bit rates hardly
    matter.
    """

    def __init__(self) -> None:
        self._n_frames = 0
        self._hashes: list[int] = []
        self._times_s: list[float] = []

    def feed(self, frame: np.ndarray) -> None:
        """Takes the next frame, uint8 [H, W, 3]."""
        time_s, self._n_frames = self._n_frames / FRAMES_FPS, self._n_frames + 1
        grid = _cells(frame.mean(axis=2), _GRID)
        if grid.std() < _MIN_CONTRAST:
            return
        red, green, blue = np.moveaxis(_cells(frame, _COLOUR_GRID), -1, 0)
        bits = (
            np.diff(grid, axis=1) > _MIN_STEP,
            red - green > _MIN_TINT,
            blue - green > _MIN_TINT,
        )
        self._hashes.append(
            int(pack(np.concatenate([b.ravel() for b in bits])[None])[0])
        )
        self._times_s.append(time_s)

    def finish(self) -> Fingerprint:
        """Returns the fingerprint of all that was fed."""
        return Fingerprint(
            np.array(self._hashes, np.uint64), np.array(self._times_s, np.float32)
        )


def _cells(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Averages [H, W, ...] over the cells of a grid: [shape[0], shape[1], ...]."""
    rows = [part.mean(axis=0) for part in np.array_split(image, shape[0])]
    columns = np.array_split(np.stack(rows), shape[1], axis=1)
    return np.stack([part.mean(axis=1) for part in columns], axis=1)


def _bands() -> np.ndarray:
    """Returns what sums a power spectrum to bands of equal width in log frequency."""
    edges = np.geomspace(_LOW_HZ, _HIGH_HZ, _N_BANDS + 1)
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)[:, np.newaxis]
    return ((frequencies >= edges[:-1]) & (frequencies < edges[1:])).astype(np.float32)


_HANN = np.hanning(_WINDOW).astype(np.float32)
_BANDS = _bands()
