"""Copies are found whatever was done to them; what is merely alike is left alone."""

import made_media
import narrated
import numpy as np
import pytest

from avl_tf import media, near_duplicates
from avl_tf.near_duplicates import Fingerprint, Match
from data_prep.builder.fingerprints import (
    FRAMES_FPS,
    FRAMES_SHORT_SIDE,
    AudioFingerprint,
    FramesFingerprint,
)

RATE = narrated.RATE


def _of_sound(waveform, block=RATE):
    fingerprint = AudioFingerprint()
    for start in range(0, len(waveform), block):
        fingerprint.feed(waveform[start : start + block])
    return fingerprint.finish()


def _of_video(path):
    fingerprint = FramesFingerprint()
    for frame in media.iter_frames(path, FRAMES_FPS, FRAMES_SHORT_SIDE):
        fingerprint.feed(frame)
    return fingerprint.finish()


def _sound(seed, seconds=40):
    parts = [narrated.music(seconds // 2, seed), narrated.speech(0.9 + seed / 20)]
    rest = seconds * RATE - sum(map(len, parts))
    return np.concatenate([*parts, narrated.music(rest / RATE, [seed, 1])])


def _pairs(matches):
    return {(match.first, match.second) for match in matches}


@pytest.fixture(scope="module")
def sounds():
    return [_sound(seed) for seed in range(4)]


def _encoded(waveform, folder):
    path = folder / "copy.m4a"
    made_media.make_media(path, sound=waveform, rate=RATE, layout="mono")
    return media.read_waveform(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda sound, folder: sound,
        lambda sound, folder: 0.2 * sound,
        lambda sound, folder: sound[round(3.41 * RATE) : -5 * RATE],
        lambda sound, folder: np.concatenate([narrated.noise(7), sound]),
        lambda sound, folder: sound + narrated.noise(40, 0.005, seed=9),
        lambda sound, folder: 0.5 * _encoded(sound, folder)[2 * RATE :],
    ],
    ids=["same", "quieter", "cut", "later", "noisy", "encoded anew, quieter and cut"],
)
def test_copies_of_sound_are_found(sounds, change, tmp_path):
    fingerprints = [_of_sound(sound) for sound in sounds]
    fingerprints.append(_of_sound(change(sounds[2], tmp_path)))
    assert _pairs(near_duplicates.find_matches(fingerprints, "audio")) == {(2, 4)}


def test_a_common_opening_makes_no_copies(sounds):
    opening = narrated.music(6, seed=99)
    fingerprints = [_of_sound(np.concatenate([opening, sound])) for sound in sounds]
    assert near_duplicates.find_matches(fingerprints, "audio") == []


def test_an_excerpt_is_a_copy_of_the_whole(sounds):
    fingerprints = [_of_sound(sounds[0]), _of_sound(sounds[0][20 * RATE : 32 * RATE])]
    (match,) = near_duplicates.find_matches(fingerprints, "audio")
    assert match.share > 0.8


def test_sound_gives_the_same_hashes_in_blocks_of_any_length(sounds):
    expected = _of_sound(sounds[0])
    for block in (777, 16 * RATE, 10**7):
        np.testing.assert_array_equal(_of_sound(sounds[0], block), expected)


@pytest.mark.parametrize("waveform", [np.zeros(20 * RATE, np.float32), np.zeros(9)])
def test_silence_is_like_nothing(waveform):
    fingerprints = [_of_sound(waveform.astype(np.float32))] * 2
    assert near_duplicates.find_matches(fingerprints, "audio") == []


def test_copies_of_frames_are_found(tmp_path):
    paths = [tmp_path / f"{seed}.mp4" for seed in range(3)]
    for seed, path in enumerate(paths):
        made_media.make_media(path, narrated.pictures(20, seed=seed), fps=5)
    smaller = [
        media.resize(np.minimum(frame, 245) + np.uint8(10), 48, 86)
        for frame in list(narrated.pictures(20, seed=1))[12:-5]
    ]
    made_media.make_media(
        tmp_path / "copy.mkv", smaller, fps=5, video_options={"crf": "36"}
    )
    fingerprints = [_of_video(path) for path in [*paths, tmp_path / "copy.mkv"]]
    assert _pairs(near_duplicates.find_matches(fingerprints, "frames")) == {(1, 3)}


def test_the_same_still_picture_is_a_copy_and_another_is_not(tmp_path):
    stills = [next(narrated.pictures(1, seed=seed)) for seed in (0, 1, 0)]
    for index, still in enumerate(stills):
        made_media.make_media(tmp_path / f"{index}.mp4", [still] * (40 + index), fps=5)
    fingerprints = [_of_video(tmp_path / f"{index}.mp4") for index in range(3)]
    assert _pairs(near_duplicates.find_matches(fingerprints, "frames")) == {(0, 2)}


@pytest.mark.parametrize("level", [0, 128, 255])
def test_frames_without_contrast_are_like_nothing(level):
    fingerprint = FramesFingerprint()
    for _ in range(20):
        fingerprint.feed(np.full((36, 64, 3), level, np.uint8))
    assert len(fingerprint.finish().hashes) == 0


def test_of_thousands_of_videos_few_pairs_are_compared(monkeypatch):
    random = np.random.default_rng(0)

    def fingerprint():
        times_s = np.sort(random.uniform(0, 600, 2000)).astype(np.float32)
        return Fingerprint(random.integers(0, 2**28, 2000).astype(np.uint64), times_s)

    fingerprints = [fingerprint() for _ in range(2000)]
    original = fingerprints[1234]
    late = original.times_s > 30
    copy = Fingerprint(original.hashes[late], original.times_s[late] - 30)
    real_share, compared = near_duplicates._share, []

    def share(*arguments):
        compared.append(arguments)
        return real_share(*arguments)

    monkeypatch.setattr(near_duplicates, "_share", share)
    matches = near_duplicates.find_matches([*fingerprints, copy], "audio")
    assert matches == [Match(1234, 2000, 1.0)]
    assert len(compared) < 10  # of two million


def test_many_copies_are_one_group():
    random = np.random.default_rng(0)
    one = Fingerprint(
        random.integers(0, 2**28, 200).astype(np.uint64),
        np.arange(200, dtype=np.float32),
    )
    matches = near_duplicates.find_matches([one] * 100, "audio")
    assert near_duplicates.group(101, matches) == [list(range(100)), [100]]


def test_copies_of_copies_are_one_group():
    matches = [Match(1, 4, 1.0), Match(2, 4, 1.0), Match(0, 3, 1.0)]
    assert near_duplicates.group(6, matches) == [[0, 3], [1, 2, 4], [5]]


def test_no_video_has_no_copies():
    assert near_duplicates.find_matches([], "audio") == []
    assert near_duplicates.group(0, []) == []
