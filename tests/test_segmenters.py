"""Speech is found where it is, and neither in noise nor in music."""

import importlib.util
import pathlib
import subprocess
import sys
import time

import narrated
import numpy as np
import pytest
from programs import environment

from data_prep.builder import segmenter_process, segmenters

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


def test_silero_hears_each_recording_by_itself():
    waveform, _ = narrated.scene()
    one, other = segmenters.make("silero"), segmenters.make("silero")
    for start in range(0, len(waveform), 16000):
        one.feed(waveform[start : start + 16000])
        other.feed(waveform[start : start + 16000] / 2)
    expected = one.finish()
    assert other.finish() != expected
    # A process that has heard another recording begins anew.
    for _ in range(2):
        again = segmenters.make("silero")
        again.feed(waveform)
        assert again._probabilities == one._probabilities[: len(again._probabilities)]
        assert again.finish() == expected


def test_silero_that_ends_is_told_and_costs_one_recording():
    waveform, expected = narrated.scene()
    segmenter = segmenters.make("silero")
    segmenter._process._process.kill()
    with pytest.raises(RuntimeError, match="silero_process ended with status -9"):
        segmenter.feed(waveform)
    segmenter = segmenters.make("silero")
    segmenter.finish()
    segmenter._process._process.kill()  # while nobody needs it
    segmenter._process._process.wait()
    assert len(_segment("silero", waveform, 16000)) == len(expected)


def test_a_silero_that_is_dropped_leaves_no_process():
    segmenter = segmenters.make("silero")
    segmenter.feed(np.zeros(1000, np.float32))
    status = pathlib.Path(f"/proc/{segmenter._process._process.pid}/status")
    assert "silero" in status.with_name("cmdline").read_text()
    del segmenter
    give_up = time.monotonic() + 60
    while status.exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.parametrize("first", ["tensorflow", "data_prep.builder.segmenters"])
def test_silero_and_tensorflow_share_no_process(first):
    script = f"""
import {first}, tensorflow
from data_prep.builder import segmenters
segmenters.make("silero").finish()
assert "silero" not in open("/proc/self/maps").read()
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
    monkeypatch.setattr(segmenter_process, "_idle", {})
    monkeypatch.setattr(segmenter_process.sys, "executable", "/bin/false")
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
