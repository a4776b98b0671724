"""The right values of tests/data/cases, whose README says what was wrong with each.

Those of the mirrored pictures are in test_orientation.py.
"""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from avl_tf import audio, extraction, media
from avl_tf.audio import AudioConfig
from avl_tf.manifest import Recording
from avl_tf.serving import wav
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import listening

CASES = pathlib.Path(__file__).parent / "data" / "cases"
RATE = 16000
# Of sound alone: pictures are none of this.
CONFIG = ExtractionConfig("", "", "", "")


def _pitch(waveform):
    """The loudest frequency of a sound, Hz."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return spectrum.argmax() * RATE / len(waveform)


def _extract(name, **fields):
    notes = []
    recording = Recording(name, str(CASES / name), **fields)
    (found,) = extraction.extract([recording], CONFIG, notes)
    return found, notes


def _mean_db(name):
    found, _ = _extract(name)
    return found.log_mel.mean()


@pytest.mark.parametrize("start_s", range(8))
def test_the_reference_has_a_tone_and_a_grey_a_second(start_s):
    path = CASES / "base.mp4"
    waveform = media.read_waveform(path, RATE, start_s + 0.2, start_s + 0.8)
    assert _pitch(waveform) == pytest.approx(300 + 200 * start_s, abs=3)
    (frame,) = media.read_frames(path, 1, start_s=start_s + 0.5, end_s=start_s + 0.6)
    assert frame.mean() == pytest.approx(10 + 20 * start_s, abs=6)


def test_sound_that_starts_late_is_silent_before():
    path = CASES / "late_audio.mp4"
    first = media.read_waveform(path, RATE, 0, 1)
    assert len(first) == RATE and not first.any()
    line = {"id": "a", "media": str(path), "split": "all"}
    assert listening.examine(line)[0] is None
    found, _ = _extract("late_audio.mp4")
    assert found.end_s == pytest.approx(media.duration_s(path), abs=0.1)


@pytest.mark.parametrize("start_s, end_s", [(0, 4.6), (2, 4.5), (0, 4), (3.5, 4.5)])
def test_a_hole_in_the_sound_is_silence_to_the_end_asked_for(start_s, end_s):
    waveform = media.read_waveform(CASES / "hole.mp4", RATE, start_s, end_s)
    assert len(waveform) == round((end_s - start_s) * RATE)
    hole = slice(max(0, round((3.2 - start_s) * RATE)), None)
    assert not waveform[hole].any() and waveform[: hole.start].any() == (start_s < 3)


def test_a_clip_in_a_hole_is_extracted():
    clips = ({"start_s": 3.2, "end_s": 4.0},)
    found, _ = _extract("hole.mp4", end_s=4.0, clips=clips)
    assert [clip.start_s for clip in found.clips] == [pytest.approx(3.2)]


@pytest.mark.parametrize(
    "language, hz, kinds",
    [
        ("sw", 300, []),
        ("swa", 300, []),
        ("en", 1000, []),
        ("eng", 1000, []),
        ("fr", 2500, []),
        ("fre", 2500, []),
        ("ja", 1000, ["other language"]),
    ],
)
def test_of_several_tracks_the_lines_language_is_heard(language, hz, kinds):
    waveform = media.read_waveform(CASES / "multi.mkv", RATE, 1, 2, language=language)
    assert _pitch(waveform) == pytest.approx(hz, abs=3)
    found, notes = _extract("multi.mkv", language=language)
    of_tone = audio.log_mel(waveform[np.newaxis], AudioConfig())[0]
    loudest = np.argmax(of_tone.numpy().mean(axis=0))
    assert np.argmax(found.log_mel.mean(axis=0)) == loudest
    assert [note.kind for note in notes] == kinds


def test_of_channels_that_cancel_one_is_heard():
    found, notes = _extract("antiphase.wav")
    assert [note.kind for note in notes] == ["cancelling channels"]
    assert found.log_mel.mean() == pytest.approx(-57.6, abs=0.1)


def test_a_float_above_full_scale_is_not_clipped():
    assert _mean_db("float_x5.wav") == pytest.approx(-57.6, abs=0.1)


def test_a_streamed_wav_is_read_to_its_end_in_the_exports_graph():
    content = (CASES / "pipe_zero.wav").read_bytes()
    waveform, reason = tf.function(wav.decode)(tf.constant(content), RATE)
    samples = np.frombuffer(content[44:], np.int16) / 32768
    assert reason.numpy() == b""
    assert np.array_equal(waveform.numpy(), samples.astype(np.float32))


def test_joined_mp3_files_are_read_to_the_end_of_the_last():
    path = CASES / "joined.mp3"
    assert media.duration_s(path) == pytest.approx(8, abs=0.1)
    assert len(media.read_waveform(path, RATE)) == pytest.approx(8 * RATE, abs=2000)
