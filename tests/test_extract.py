import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from avl_tf import audio, media, records
from avl_tf.audio import AudioConfig
from data_prep import extraction, workers
from data_prep.extraction import ExtractionConfig
from data_prep.manifest import Recording, write_manifest

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ExtractionConfig("efficientnet_lite0", "", "", "")
RATE = 16000


def _write_video(path, n_seconds, seed):
    random = np.random.default_rng(seed)
    frames = [
        np.full((64, 80, 3), random.integers(0, 256, 3), np.uint8)
        for _ in range(n_seconds)
        for _ in range(4)
    ]
    waveform = random.uniform(-0.3, 0.3, n_seconds * RATE).astype(np.float32)
    media.write_video(str(path), frames, 4, waveform, RATE)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i in range(5):
        _write_video(folder / f"{i}.mp4", 3 + i, seed=i)
    whole = (folder / "4.mp4").read_bytes()
    (folder / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("not a video")
    return folder


def _manifest(videos, name, lines):
    path = str(videos / name)
    write_manifest(path, lines)
    return path


def _lines(*names):
    return [{"id": n, "media": f"{n}.mp4", "split": "train"} for n in names]


def _arguments(manifest, out_dir, *more):
    return [
        sys.executable,
        "-m",
        "data_prep.extract",
        f"--manifest={manifest}",
        f"--out_dir={out_dir}",
        "--backbone_2d=efficientnet_lite0",
        *more,
    ]


def _extract(manifest, out_dir, *more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        _arguments(manifest, out_dir, *more),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def _shards(out_dir):
    return {p.name: p.read_bytes() for p in pathlib.Path(out_dir).glob("*.tfrecord")}


def test_a_recording_becomes_its_log_mel_and_features(videos):
    clips = ({"start_s": 0, "end_s": 2, "label": "one"}, {"start_s": 2, "end_s": 99})
    recording = Recording("r", str(videos / "0.mp4"), language="sw", clips=clips)
    record = extraction.extract_recording(recording, CONFIG)
    waveform = media.read_waveform(str(videos / "0.mp4"))
    expected = audio.log_mel(waveform[np.newaxis], AudioConfig())[0]
    assert np.array_equal(record.log_mel, expected)
    assert record.features_2d.shape == (3, 1280)
    assert np.linalg.norm(record.features_2d, axis=1) == pytest.approx([1, 1, 1])
    assert not np.allclose(record.features_2d[0], record.features_2d[1], atol=1e-3)
    assert record.end_s == pytest.approx(3, abs=0.2)
    assert [(c.start_s, c.label) for c in record.clips] == [(0, "one"), (2, "")]
    assert record.clips[1].end_s == record.end_s


def test_a_span_of_a_file_is_a_recording_of_its_own(videos):
    path = str(videos / "4.mp4")
    whole = extraction.extract_recording(Recording("r", path), CONFIG)
    part = extraction.extract_recording(
        Recording("r", path, start_s=2.0, end_s=5.0), CONFIG
    )
    assert (part.start_s, part.end_s) == (2, 5)
    assert len(part.log_mel) == 301
    assert np.abs(part.features_2d - whole.features_2d[2:5]).max() < 1e-3


def test_an_image_with_a_spoken_caption_is_a_recording(videos, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    media.write_image(str(tmp_path / "image.png"), image)
    recording = Recording("r", str(videos / "0.mp4"), image=str(tmp_path / "image.png"))
    record = extraction.extract_recording(recording, CONFIG)
    assert record.features_2d.shape == (1, 1280)


def test_a_clip_behind_the_end_is_an_error(videos):
    clips = ({"start_s": 50, "end_s": 52},)
    recording = Recording("r", str(videos / "0.mp4"), clips=clips)
    with pytest.raises(ValueError, match="a clip starts at 50 s"):
        extraction.extract_recording(recording, CONFIG)


@pytest.mark.slow
def test_good_recordings_land_and_bad_ones_are_listed(videos, tmp_path):
    names = ["0", "broken", "1", "nowhere", "text", "2"]
    manifest = _manifest(videos, "mixed.jsonl", _lines(*names))
    out_dir = tmp_path / "records"
    done = _extract(manifest, out_dir, "--recordings_per_shard=2")
    assert done.returncode == 1
    assert "error: 3 of 6 recordings failed" in done.stderr
    assert "Traceback" not in done.stderr
    failures = [
        json.loads(line)
        for line in (out_dir / "failures.jsonl").read_text().splitlines()
    ]
    assert {f["id"] for f in failures} == {"broken", "nowhere", "text"}
    for failure in failures:
        assert set(failure) == {"id", "media", "reason"}
        assert failure["media"] == str(videos / f"{failure['id']}.mp4")
        assert f"{failure['id']}.mp4" in failure["reason"]
    opened = records.open_records(str(out_dir / "train"))
    serialized = list(tf.data.TFRecordDataset(opened.paths).as_numpy_iterator())
    found = {records.decode(s, opened.spec).id for s in serialized}
    assert found == {"0", "1", "2"} and opened.n_records == 3
    assert opened.spec.features_2d.rate_hz == 1.0

    # Again: nothing is made anew, and it still says that some failed.
    before = {p: p.stat().st_mtime_ns for p in out_dir.glob("*.tfrecord")}
    again = _extract(manifest, out_dir, "--recordings_per_shard=2")
    assert again.returncode == 1 and "3 of 6" in again.stderr
    assert before == {p: p.stat().st_mtime_ns for p in out_dir.glob("*.tfrecord")}

    # Mended, the one that failed is picked up when asked for.
    _write_video(videos / "nowhere.mp4", 3, seed=9)
    retried = _extract(manifest, out_dir, "--recordings_per_shard=2", "--retry_failed")
    (videos / "nowhere.mp4").unlink()
    assert "2 of 6 recordings failed" in retried.stderr
    assert records.open_records(str(out_dir)).n_records == 4


@pytest.mark.slow
def test_shards_depend_on_input_and_seed_alone_and_survive_a_kill(videos, tmp_path):
    manifest = _manifest(videos, "good.jsonl", _lines("0", "1", "2", "3", "4"))
    two = ["--recordings_per_shard=2"]
    one_worker = _extract(manifest, tmp_path / "a", *two, "--workers=1")
    assert one_worker.returncode == 0, one_worker.stderr
    assert "5 recordings in 3 shards" in one_worker.stdout
    expected = _shards(tmp_path / "a")
    assert len(expected) == 3

    # Killed as soon as a shard stands; what is there is kept, the rest is made.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        _arguments(manifest, tmp_path / "b", *two, "--workers=2"),
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not _shards(tmp_path / "b") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = _shards(tmp_path / "b")
    assert kept and all(expected[name] == kept[name] for name in kept)
    assert not (tmp_path / "b" / "spec.json").exists()
    with pytest.raises(FileNotFoundError):
        records.open_records(str(tmp_path / "b"))
    (tmp_path / "b" / "train-00002-of-00003.tfrecord.tmp").write_bytes(b"half a shard")
    resumed = _extract(manifest, tmp_path / "b", *two, "--workers=2")
    assert resumed.returncode == 0, resumed.stderr
    assert _shards(tmp_path / "b") == expected

    other = _extract(manifest, tmp_path / "b", *two, "--seed=1")
    assert other.returncode == 1
    assert "begun with other input or other settings" in other.stderr
    assert _shards(tmp_path / "b") == expected

    # A shard that was cut is made again.
    cut = tmp_path / "b" / "train-00001-of-00003.tfrecord"
    cut.write_bytes(cut.read_bytes()[:1000])
    assert _extract(manifest, tmp_path / "b", *two).returncode == 0
    assert _shards(tmp_path / "b") == expected


def _die_over_two(recording, config):
    if recording.id == "2":
        os._exit(9)
    return real_extract_or_explain(recording, config)


real_extract_or_explain = extraction.extract_or_explain


@pytest.mark.slow
def test_a_recording_that_kills_its_worker_is_left_out(videos, tmp_path, monkeypatch):
    recordings = tuple(Recording(n, str(videos / f"{n}.mp4")) for n in "0123")
    task = extraction.ShardTask(
        str(tmp_path), "all-00000-of-00001.tfrecord", recordings, CONFIG
    )

    def dying_shard(task):
        return extraction.write_shard(
            task, [_die_over_two(r, task.config) for r in task.recordings]
        )

    monkeypatch.setattr(extraction, "extract_shard", dying_shard)
    monkeypatch.setattr(extraction, "extract_or_explain", _die_over_two)
    (result,) = workers.make_shards([task], n_workers=1)
    assert result.spec.n_records == 3
    ((failure,),) = [result.failures]
    assert failure["id"] == "2" and "worker process died" in failure["reason"]


def test_an_odd_error_is_a_failure_of_its_recording(videos, monkeypatch):
    def broken(*_):
        raise RuntimeError("odd")

    monkeypatch.setattr(extraction, "extract_recording", broken)
    found = extraction.extract_or_explain(Recording("r", "r.mp4"), CONFIG)
    assert found.failure == {"id": "r", "media": "r.mp4", "reason": "RuntimeError: odd"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--manifest=no-such.jsonl"], "no-such.jsonl: no such manifest"),
        (["--backbone_2d=resnet9000"], "resnet9000"),
        (["--backbone_2d="], "both empty"),
    ],
)
def test_a_slip_is_told_in_one_line(videos, tmp_path, more, text):
    manifest = _manifest(videos, "one.jsonl", _lines("0"))
    done = _extract(manifest, tmp_path / "records", *more)
    assert done.returncode == 1
    assert text in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "records").exists()
