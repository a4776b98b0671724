"""What is left of a recording's log-mel when its media are encoded anew: hashes.

A record has no media, so that data_prep.builder's fingerprints cannot be taken of it.
These are of the same kind, and avl_tf.near_duplicates compares them.
"""

import functools

import numpy as np

from avl_tf.audio import AudioConfig, mel_edges_hz
from avl_tf.near_duplicates import Fingerprint, pack, thin

# Chosen by measurement on the 174 videos of the demo, and on copies of four of them, of
# speech and of music, cut by 3.41 s and encoded anew (AAC, MP3, Opus). Of all pairs of
# videos, which share recorded words, none has more than a third of its pieces in
# common; of the copies, at 24 kbit/s and above, all have all. Windows half as long, or
# compared over half the time, lose up to half of the hashes that stay.
_HOP_S, _WINDOW_S, _LAG_S = 0.03, 0.99, 0.99
_N_BANDS, _LOW_HZ, _HIGH_HZ = 29, 200.0, 4500.0
# Of fewer bands too few bits are left to tell recordings apart.
_MIN_BANDS = 20
_KEPT = 4
# This far above the floor of the log-mel, sound is more than the codec's noise.
_ABOVE_FLOOR_DB = 25.0
_BLOCKS_AT_ONCE = 1 << 14
NONE = Fingerprint(np.zeros(0, np.uint64), np.zeros(0, np.float32))


def fingerprint(log_mel: np.ndarray, config: AudioConfig) -> Fingerprint:
    """Hashes a recording by its log-mel.

    A bit of a hash tells whether the difference of energy between two neighbouring
    bands of frequency has grown within a second: level and equalisation cancel.

    Args:
        log_mel: [T, F] in dB.
        config: of the log-mel.

    Returns:
        Hashes of 28 bits, about seven for a second of speech. None of what is shorter
        than two seconds or nearly silent, nor of a log-mel of fewer than 20 bands
        between 200 and 4500 Hz.

    Source: Haitsma and Kalker 2002, A Highly Robust Audio Fingerprinting System.
    Differs: 28 bits; mel bands, a second long and compared over a second, the louder
        hundredths of which count more; one hash in four is kept.
    """
    groups = _groups(config)
    pooled = max(1, round(_HOP_S * config.frame_rate))
    hop_s = pooled / config.frame_rate
    window = np.hanning(max(1, round(_WINDOW_S / hop_s)) + 2)[1:-1].astype(np.float32)
    lag = max(1, round(_LAG_S / hop_s))
    n_blocks = len(log_mel) // pooled
    if len(groups) < _MIN_BANDS or n_blocks < len(window) + lag:
        return NONE
    at_once = _BLOCKS_AT_ONCE * pooled
    whole = log_mel[: n_blocks * pooled]
    blocks = np.concatenate(
        [
            _powers(whole[start : start + at_once], groups, pooled)
            for start in range(0, len(whole), at_once)
        ]
    )
    n_windows = n_blocks - len(window) + 1
    powers = np.zeros((n_windows, len(groups)), np.float32)
    for offset, weight in enumerate(window / window.sum()):
        powers += weight * blocks[offset : offset + n_windows]
    steps = np.diff(np.log(powers + 1e-12), axis=1)
    hashes = pack(steps[lag:] > steps[:-lag])
    loudest_db = 10 * np.log10(powers.max(axis=1) + 1e-12)
    loud = loudest_db > _ABOVE_FLOOR_DB - config.dynamic_range_db
    # Where nothing has grown, nothing has changed.
    kept = thin(hashes, _KEPT) & (hashes != 0) & loud[lag:] & loud[:-lag]
    places = np.flatnonzero(kept)
    return Fingerprint(hashes[places], (places * hop_s).astype(np.float32))


def _powers(log_mel: np.ndarray, groups: list[np.ndarray], pooled: int) -> np.ndarray:
    """The mean power of each group of bands in blocks of frames: float32 [N, B]."""
    power = np.power(10.0, log_mel.astype(np.float32) / 10)
    power = power.reshape(-1, pooled, power.shape[1]).mean(axis=1)
    return np.stack([power[:, group].mean(axis=1) for group in groups], axis=1)


@functools.cache
def _groups(config: AudioConfig) -> list[np.ndarray]:
    """The mel bands that are looked at, neighbours together if there are many."""
    centres_hz = mel_edges_hz(config)[1:-1]
    bands = np.flatnonzero((centres_hz >= _LOW_HZ) & (centres_hz <= _HIGH_HZ))
    return np.array_split(bands, min(len(bands), _N_BANDS)) if len(bands) else []
