"""Speech is found where it is, and neither in noise nor in music."""

import importlib.util
import json
import pathlib
import subprocess
import sys
import time

import narrated
import numpy as np
import pytest
from programs import environment, run

from avl_tf import manifest, media
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


def test_a_manifest_is_told_how_much_speech_is_in_its_clips(tmp_path):
    waveform, spans = narrated.scene()
    media.write_wav(tmp_path / "scene.wav", waveform, media.SAMPLE_RATE)
    start_s, end_s = spans[0]
    clips = [{"start_s": a, "end_s": b} for a, b in (spans[0], (end_s + 1, end_s + 6))]
    clips[0] |= {"label": "é, b", "end_s": start_s + 2}
    lines = [
        {"id": "r0", "media": "scene.wav", "clips": clips, "duration_s": 9.5},
        {"id": "r1", "media": "scene.wav", "labels": {"a": [1]}},
        {"id": "r2", "media": "scene.wav", "start_s": end_s + 1, "end_s": end_s + 6},
        {"id": "r3", "media": "gone.wav", "clips": clips},
    ]
    given, out = tmp_path / "m.jsonl", tmp_path / "out" / "m.jsonl"
    manifest.write_manifest(str(given), lines)
    out.parent.mkdir()
    done = run("data_prep.speech", f"--manifest={given}", f"--out={out}")
    assert "r3: no speech_s" in done.stderr and "1 of 4 recordings" in done.stderr
    assert done.returncode == 1
    made = [json.loads(line) for line in out.read_text().splitlines()]
    speech, noise = (clip.pop("speech_s") for clip in made[0]["clips"])
    assert speech == pytest.approx(2, abs=_TOLERANCE_S) and noise == 0
    whole = made[1]["labels"].pop("speech_s")
    expected = sum(b - a for a, b in spans)
    assert whole == pytest.approx(expected, abs=_TOLERANCE_S * len(spans))
    assert made[2].pop("labels") == {"speech_s": 0}
    for line, one in zip(lines, made, strict=True):
        assert line | {"media": str(tmp_path / line["media"])} == one
