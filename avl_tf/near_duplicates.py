"""Which recordings are the same, or in good part: fingerprints in, groups out.

Nothing is compared with everything: hashes that several videos have are found by
sorting, so that thousands of videos take seconds.

Source: this project's own; the papers keep a video in one split and say nothing about
copies of it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

# Hashes of all kinds are below 2 to the power of this.
HASH_BITS = 43
# For each kind of fingerprint: how many different hashes must agree on a shift (a still
# picture has one only), and which part of the shorter video must be shared: an opening
# that all videos of a channel have makes no copies of them.
_LIMITS = {"audio": (4, 0.3), "frames": (1, 0.5), "log_mel": (4, 0.5)}
# A video is looked at in pieces of this length, and a piece is shared if one hash is.
_PIECE_S = 5.0
_SHIFT_TOLERANCE_S = 1.0
# Of many videos with one hash, each is compared with the next few only: copies have
# many hashes in common, and a group is what hangs together.
_N_NEIGHBOURS = 8


class Fingerprint(NamedTuple):
    """Hashes, uint64 [N], in the order of their times, float32 [N] in seconds."""

    hashes: np.ndarray
    times_s: np.ndarray


class Match(NamedTuple):
    """Two videos, as indices, and the share of the shorter one that they share."""

    first: int
    second: int
    share: float


def find_matches(fingerprints: Sequence[Fingerprint], kind: str) -> list[Match]:
    """Finds the pairs of videos that have a good part in common, shifted or not.

    Args:
        fingerprints: one a video.
        kind: what they are of: "audio", "frames" or "log_mel".
    """
    min_hashes, min_share = _LIMITS[kind]
    firsts = [_first_times(fingerprint) for fingerprint in fingerprints]
    n_videos, sizes = len(firsts), [len(first.hashes) for first in firsts]
    if not sum(sizes):
        return []
    hashes = np.concatenate([first.hashes for first in firsts])
    times_s = np.concatenate([first.times_s for first in firsts])
    videos = np.repeat(np.arange(n_videos), sizes)
    # Stable, so that of one hash the videos come in order.
    order = np.argsort(hashes, kind="stable")
    hashes, times_s, videos = hashes[order], times_s[order], videos[order]
    pairs, shifts = [], []
    for step in range(1, _N_NEIGHBOURS + 1):
        one = np.flatnonzero(hashes[step:] == hashes[:-step])
        pairs.append(videos[one] * n_videos + videos[one + step])
        shifts.append(times_s[one + step] - times_s[one])
    pair, shift = np.concatenate(pairs), np.concatenate(shifts)
    order = np.lexsort((shift, pair))
    pair, shift = pair[order], shift[order]
    last = min_hashes - 1
    agree = (pair[last:] == pair[: len(pair) - last]) & (
        shift[last:] - shift[: len(shift) - last] <= _SHIFT_TOLERANCE_S
    )
    matches = []
    for number in np.unique(pair[: len(agree)][agree]):
        first, second = divmod(int(number), n_videos)
        begin, end = np.searchsorted(pair, [number, number + 1])
        common = _commonest(shift[begin:end])
        share = _share(fingerprints[first], fingerprints[second], common)
        if share >= min_share:
            matches.append(Match(first, second, share))
    return matches


def group(n_videos: int, matches: Iterable[Match]) -> list[list[int]]:
    """Joins what matches: a copy of a copy is in the group too.

    Returns:
        All videos, as sorted lists of indices; a video without a copy is alone.
    """
    parent = list(range(n_videos))

    def root(video: int) -> int:
        while parent[video] != video:
            parent[video] = parent[parent[video]]
            video = parent[video]
        return video

    for match in matches:
        low, high = sorted((root(match.first), root(match.second)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for video in range(n_videos):
        groups.setdefault(root(video), []).append(video)
    return list(groups.values())


def pack(bits: np.ndarray) -> np.ndarray:
    """Makes hashes, uint64 [N], of bits, bool [N, at most HASH_BITS]."""
    powers = np.uint64(1) << np.arange(bits.shape[1], dtype=np.uint64)
    return bits.astype(np.uint64) @ powers


def thin(hashes: np.ndarray, kept: int) -> np.ndarray:
    """Chooses one in `kept` hashes by all of their bits, so that copies keep the same.

    Returns:
        bool [N], by Knuth's multiplication.
    """
    return ((hashes * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) % kept == 0


def _first_times(fingerprint: Fingerprint) -> Fingerprint:
    """Keeps every hash once: what a video shows for long says little about shifts."""
    hashes, first = np.unique(fingerprint.hashes, return_index=True)
    return Fingerprint(hashes, fingerprint.times_s[first])


def _commonest(shifts: np.ndarray) -> float:
    """Returns the middle of where sorted shifts [N] lie closest together."""
    ends = np.searchsorted(shifts, shifts + _SHIFT_TOLERANCE_S, side="right")
    start = int(np.argmax(ends - np.arange(len(shifts))))
    return float(np.median(shifts[start : ends[start]]))


def _share(a: Fingerprint, b: Fingerprint, shift_s: float) -> float:
    """Returns the share of the shorter video's pieces that both have at that shift."""
    # A time is known to half a second, so it may be one of two neighbouring seconds.
    seconds_a = np.floor(a.times_s + shift_s).astype(np.int64)
    seconds_b = np.floor(b.times_s).astype(np.int64)
    keys_b = _keys(b.hashes, seconds_b)
    shared = np.zeros(len(seconds_a), bool)
    for off in (-1, 0, 1):
        shared |= np.isin(_keys(a.hashes, seconds_a + off), keys_b)
    n_shared = _n_pieces(a.times_s[shared])
    return n_shared / max(1, min(_n_pieces(a.times_s), _n_pieces(b.times_s)))


def _keys(hashes: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Makes one number of a hash and a second; negative seconds match nothing."""
    late = np.uint64(1 << (63 - HASH_BITS))
    seconds = np.where(seconds < 0, late, seconds.astype(np.uint64))
    return hashes << np.uint64(64 - HASH_BITS) | np.minimum(seconds, late)


def _n_pieces(times_s: np.ndarray) -> int:
    return len(np.unique(times_s // _PIECE_S))
