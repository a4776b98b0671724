"""A video is decoded once, and what is wrong with it is said, not raised."""

import dataclasses
import os

import made_media
import narrated
import numpy as np
import pytest
from made_tracks import Tone, make_tracks

from avl_tf.media.tracks import Wanted
from avl_tf.spreading import processes
from data_prep.builder import key_frames, segmenters, video_scan
from data_prep.builder.key_frames import KeyFramesTask
from data_prep.builder.video_scan import ScanTask


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(narrated.write_narrated(tmp_path_factory.mktemp("video") / "a.mp4"))


@pytest.fixture
def task(video, tmp_path):
    return ScanTask("a/b c.mp4", video, "silero", str(tmp_path / "scans"))


def _no_decoding(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(video_scan.media, "decode", refuse)


def test_scan_measures_a_video_and_remembers(task, monkeypatch):
    scan = video_scan.scan(task)
    assert scan.failure == ""
    assert scan.duration_s == pytest.approx(21, abs=0.1)
    spans = segmenters.join(scan.speech, 0.5)
    np.testing.assert_allclose(spans, [(3, 9.5), (13.5, 20)], atol=0.35)
    assert all(len(scan.fingerprints[kind].hashes) > 20 for kind in ("audio", "frames"))
    _no_decoding(monkeypatch)
    again = video_scan.read_scan(task)
    assert again.speech == scan.speech
    for kind, fingerprint in scan.fingerprints.items():
        np.testing.assert_array_equal(again.fingerprints[kind], fingerprint)


def test_read_scan_forgets_when_something_changes(task):
    assert video_scan.read_scan(task) is None
    video_scan.scan(task)
    assert video_scan.read_scan(task) is not None
    other = ScanTask(task.id, task.path, "inaspeech", task.folder)
    assert video_scan.read_scan(other) is None
    os.utime(task.path, (1, 1))
    assert video_scan.read_scan(task) is None
    video_scan.scan(task)
    (name,) = os.listdir(task.folder)
    with open(os.path.join(task.folder, name), "r+b") as file:
        file.truncate(1000)
    assert video_scan.read_scan(task) is None


def test_a_scan_is_of_the_track_that_is_meant(tmp_path):
    tones = [Tone(300, "swa"), Tone(1000, "eng", seconds=4)]
    path = make_tracks(tmp_path / "a.mkv", tones)

    def task(*wanted):
        folder = str(tmp_path / "scans")
        return ScanTask("a", path, "silero", folder, wanted=Wanted(*wanted))

    scan = video_scan.scan(task("sw"))
    assert scan.duration_s == pytest.approx(8, abs=0.1) and not scan.notes
    assert video_scan.read_scan(task("swa")).duration_s == scan.duration_s
    assert video_scan.read_scan(task("en")) is None
    video_scan.scan(task("en"))
    for same in (task("en"), task("sw", 1), task("sw", "eng")):
        shorter = video_scan.read_scan(same)
        assert shorter.duration_s == pytest.approx(4, abs=0.1)
    assert video_scan.read_scan(task("sw")) is None
    told = video_scan.scan(task("ja"))
    assert [note.kind for note in told.notes] == ["other language"]
    assert video_scan.read_scan(task("ja")).notes == told.notes
    assert [n.kind for n in video_scan.read_scan(task("xx")).notes] == [
        "other language"
    ]
    none = video_scan.scan(task("sw", 2))
    assert "audio track 2 is not there" in none.failure


def test_a_scan_of_an_only_track_is_kept_whatever_the_language(task):
    missing = dataclasses.replace(task, wanted=Wanted("sw", 1))
    assert "audio track 1 is not there" in video_scan.scan(missing).failure
    assert video_scan.read_scan(task) is None
    video_scan.scan(task)
    other = dataclasses.replace(task, wanted=Wanted("sw"))
    assert video_scan.read_scan(other) is not None


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda path: path.write_bytes(b""), "cannot be opened"),
        (lambda path: path.write_text("no video\n"), "cannot be opened"),
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "a folder"),
        (
            lambda path: made_media.make_media(path, [made_media.noise()] * 9),
            "no audio stream",
        ),
        (
            lambda path: made_media.make_media(path, sound=made_media.sine(2)),
            "no video stream",
        ),
    ],
    ids=["empty", "text", "missing", "folder", "mute", "sound only"],
)
def test_scan_says_why_a_video_cannot_be_used(make, reason, tmp_path):
    path = tmp_path / "bad.mp4"
    make(path)
    task = ScanTask("bad.mp4", str(path), "silero", str(tmp_path / "scans"))
    assert reason in video_scan.scan(task).failure
    assert reason in video_scan.read_scan(task).failure
    assert str(path) not in video_scan.read_scan(task).failure  # it stands beside it


def test_scan_takes_a_defect_of_ours_for_a_failure(task, monkeypatch):
    def broken(*arguments, **more):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(video_scan.media, "decode", broken)
    assert video_scan.scan(task).failure == "ZeroDivisionError: oh"


def test_key_frames_are_small_pictures_of_the_time(video, tmp_path):
    wanted = tmp_path / "p" / "a.jpg"
    beyond = tmp_path / "p" / "b.jpg"
    pictures = ((10.0, str(wanted)), (500.0, str(beyond)))
    key_frames.write_key_frames(KeyFramesTask(video, pictures))
    assert not beyond.exists()
    assert wanted.read_bytes().startswith(b"\xff\xd8")
    image = video_scan.media.read_image(wanted)[..., :3].astype(int)
    frames = video_scan.media.iter_frames(video, 1, 180, start_s=10.0)
    expected = next(frames).astype(int)
    assert image.shape == expected.shape
    assert np.abs(image - expected).mean() < 8


@pytest.mark.slow
def test_a_task_that_kills_its_process_costs_only_itself():
    results = dict(processes.run(os._exit, [3], 1))
    assert results == {3: None}
    assert dict(processes.run(abs, [-1, -2], 2)) == {-1: 1, -2: 2}
    assert list(processes.run(abs, [], 2)) == []
