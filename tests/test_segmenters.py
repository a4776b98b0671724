"""Speech is found where it is, and neither in noise nor in music."""

import importlib.util
import subprocess
import sys

import narrated
import numpy as np
import pytest
from programs import environment

from data_prep.builder import segmenters

_TOLERANCE_S = 0.35

needs_inaspeech = pytest.mark.skipif(
    importlib.util.find_spec("inaSpeechSegmenter") is None,
    reason="the extra 'inaspeech' is not installed",
)


def _segment(name, waveform, block):
    segmenter = segmenters.make(name)
    for start in range(0, len(waveform), block):
        segmenter.feed(waveform[start : start + block])
    return segmenters.join(segmenter.finish(), 0.5)


@pytest.mark.parametrize(
    "name",
    ["silero", pytest.param("inaspeech", marks=[needs_inaspeech, pytest.mark.slow])],
)
def test_speech_is_found_between_noise_and_music(name):
    waveform, expected = narrated.scene()
    found = _segment(name, waveform, 16000)
    assert len(found) == len(expected), found
    np.testing.assert_allclose(found, expected, atol=_TOLERANCE_S)


@pytest.mark.parametrize("block", [100, 5000, 10**6])
def test_silero_finds_the_same_in_blocks_of_any_length(block):
    waveform, _ = narrated.scene()
    assert _segment("silero", waveform, block) == _segment("silero", waveform, 16000)


def test_silero_finds_nothing_in_nothing():
    assert _segment("silero", np.zeros(0, np.float32), 1) == []
    assert _segment("silero", np.zeros(100, np.float32), 100) == []
    assert _segment("silero", narrated.noise(5, 0.3), 16000) == []


def test_silero_runs_where_tensorflow_was_loaded_first():
    script = """
import tensorflow
from data_prep.builder import segmenters
segmenters.make("silero").finish()
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_inaspeech
@pytest.mark.slow
def test_inaspeech_joins_what_its_sections_part(monkeypatch):
    monkeypatch.setattr(segmenters, "_SECTION_S", 5)
    waveform, expected = narrated.scene()
    found = _segment("inaspeech", waveform, 8000)
    np.testing.assert_allclose(found, expected, atol=2 * _TOLERANCE_S)


@needs_inaspeech
@pytest.mark.slow
def test_inaspeech_tells_how_its_process_ended(monkeypatch):
    segmenters._inaspeech_process.cache_clear()
    monkeypatch.setattr(segmenters.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended with status 1"):
        _segment("inaspeech", narrated.noise(2), 16000)


def test_make_says_what_to_install(monkeypatch):
    monkeypatch.setattr(segmenters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install 'avl_tf\\[inaspeech\\]'"):
        segmenters.make("inaspeech")


def test_make_refuses_other_names():
    with pytest.raises(ValueError, match="silero, inaspeech"):
        segmenters.make("webrtc")


@pytest.mark.parametrize(
    "pause_s, expected",
    [(0.0, [(0, 1), (1.5, 3), (4, 5)]), (0.5, [(0, 3), (4, 5)]), (1, [(0, 5)])],
)
def test_join_bridges_pauses_up_to_the_limit(pause_s, expected):
    assert segmenters.join([(0, 1), (1.5, 3), (4, 5)], pause_s) == expected


def test_join_keeps_the_later_end_of_spans_that_overlap():
    assert segmenters.join([(0, 4), (1, 2), (3, 5)], 0) == [(0, 5)]
