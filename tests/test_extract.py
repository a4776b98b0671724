import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
from made_media import make_media
from programs import fails_in_one_line, run, started

from avl_tf import audio, extraction, media, records, still_images
from avl_tf.audio import AudioConfig
from avl_tf.backbones import Backbone, efficientnet_lite
from avl_tf.manifest import Recording, read_manifest, write_manifest
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import shard_tasks, shards, workers

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
        "data_prep.extract",
        f"--manifest={manifest}",
        f"--out_dir={out_dir}",
        "--backbone_2d=efficientnet_lite0",
        *more,
    ]


def _extract(manifest, out_dir, *more):
    return run(*_arguments(manifest, out_dir, *more))


def _started(*arguments):
    return started(*_arguments(*arguments), stderr=subprocess.DEVNULL)


def _kill_after(process, out_dir, n_shards):
    while len(_shards(out_dir)) < n_shards:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    process.kill()


def _extract_one(recording, config=CONFIG):
    """The Record, or the reason of the failure."""
    (found,) = extraction.extract([recording], config)
    return found if isinstance(found, records.Record) else found["reason"]


def _shards(out_dir):
    return {p.name: p.read_bytes() for p in pathlib.Path(out_dir).glob("*.tfrecord")}


def test_a_recording_becomes_its_log_mel_and_features(videos):
    clips = ({"start_s": 0, "end_s": 2, "label": "one"}, {"start_s": 2, "end_s": 99})
    recording = Recording("r", str(videos / "0.mp4"), language="sw", clips=clips)
    record = _extract_one(recording)
    samples = media.collect(media.decode(str(videos / "0.mp4"), RATE))
    expected = audio.long_log_mel(samples, AudioConfig())
    # As it is stored: half the memory on the way there.
    assert record.log_mel.dtype == np.float16
    assert np.array_equal(record.log_mel, expected.astype(np.float16))
    assert record.features_2d.shape == (3, 1280)
    assert np.linalg.norm(record.features_2d, axis=1) == pytest.approx(
        [1, 1, 1], abs=1e-3
    )
    assert not np.allclose(record.features_2d[0], record.features_2d[1], atol=1e-3)
    assert record.end_s == pytest.approx(3, abs=0.2)
    assert [(c.start_s, c.label) for c in record.clips] == [(0, "one"), (2, "")]
    assert record.clips[1].end_s == record.end_s


def test_a_span_of_a_file_is_a_recording_of_its_own(videos):
    path = str(videos / "4.mp4")
    whole = _extract_one(Recording("r", path))
    part = _extract_one(Recording("r", path, start_s=2.0, end_s=5.0), CONFIG)
    assert (part.start_s, part.end_s) == (2, 5)
    assert len(part.log_mel) == 301
    assert np.abs(part.features_2d - whole.features_2d[2:5]).max() < 1e-3


def test_an_image_with_a_spoken_caption_is_a_recording(videos, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    media.write_image(str(tmp_path / "image.png"), image)
    recording = Recording("r", str(videos / "0.mp4"), image=str(tmp_path / "image.png"))
    record = _extract_one(recording)
    assert record.features_2d.shape == (1, 1280)


def test_a_recording_whose_clips_are_all_behind_the_end_fails(videos):
    clips = ({"start_s": 50, "end_s": 52}, {"start_s": 60, "end_s": 70})
    recording = Recording("r", str(videos / "0.mp4"), clips=clips)
    reason = _extract_one(recording)
    assert "all its clips start after its end: a clip starts at 50 s, the" in reason


def test_features_of_a_recording_do_not_depend_on_the_others(videos):
    recordings = [Recording(n, str(videos / f"{n}.mp4")) for n in "013"]
    alone = [_extract_one(recording) for recording in recordings]
    failing = [Recording(n, str(videos / f"{n}.mp4")) for n in ("text", "broken", "no")]
    mixed = [failing[0], recordings[0], failing[1], *recordings[1:], failing[2]]
    together = list(extraction.extract(mixed, CONFIG))
    assert [type(found) for found in together].count(dict) == 3
    found = [found for found in together if isinstance(found, records.Record)]
    for one, other in zip(alone, found, strict=True):
        assert records.encode(one) == records.encode(other)


def test_a_recording_comes_before_the_next_is_decoded(videos):
    recordings = (Recording(n, str(videos / f"{n}.mp4")) for n in "01")
    decoded = []

    def noted():
        for recording in recordings:
            decoded.append(recording.id)
            yield recording

    extracted = extraction.extract(noted(), CONFIG)
    assert next(extracted).id == "0" and decoded == ["0"]


def test_an_image_has_no_motion():
    clip = dataclasses.replace(_fake_backbone(), name="film", frames_per_feature=16)
    with pytest.raises(ValueError, match="film needs 16 frames of video"):
        still_images.as_frame(np.zeros((40, 60, 3), np.uint8), clip)


def _fake_backbone():
    return Backbone("fake", 1, 1, 4, None, 1, "", lambda frames: frames[:, 0, 0, :1])


BROKEN = {
    "empty": "cannot be opened",
    "garbage": "",
    "text": "cannot be opened",
    "headless": "cannot be opened",
    "torn": "decodes only to",
    "silent": "no audio stream",
    "zeros": "its sound is nothing but zeros",
    "blind": "no video stream",
    "missing": "no such file",
    "folder": "a folder",
    "late": "no sound in the span",
    "late_clip": "a clip starts at 50 s",
    "image": "cannot be",
}


@pytest.fixture(scope="module")
def broken(videos):
    """A manifest line for every way to be broken."""
    folder = videos / "broken"
    (folder / "folder.mp4").mkdir(parents=True)
    frames = [np.full((64, 80, 3), i, np.uint8) for i in range(150)]
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 6 * RATE)
    whole = (videos / "4.mp4").read_bytes()
    torn = make_media(folder / "whole.mkv", frames, sound, rate=RATE).read_bytes()
    make_media(folder / "silent.mp4", frames)
    make_media(folder / "zeros.mp4", frames, 0 * sound)
    make_media(folder / "blind.mp4", sound=sound)
    media.write_image(folder / "whole.png", frames[0])
    contents = {
        "empty.mp4": b"",
        "garbage.mp4": np.random.default_rng(1).bytes(20000),
        "text.mp4": b"not a video",
        "headless.mp4": whole[: len(whole) // 2],
        "torn.mp4": torn[: len(torn) // 2],
        "image.png": (folder / "whole.png").read_bytes()[:60],
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    lines = {kind: {"id": kind, "media": f"broken/{kind}.mp4"} for kind in BROKEN}
    lines["late"].update(media="4.mp4", start_s=50.0)
    lines["late_clip"].update(media="4.mp4", clips=[{"start_s": 50, "end_s": 51}])
    lines["image"].update(media="4.mp4", image="broken/image.png")
    return lines


def test_every_way_to_be_broken_has_its_reason(videos, broken):
    manifest = _manifest(videos, "broken.jsonl", broken.values())
    for found in extraction.extract(read_manifest(manifest), CONFIG):
        assert set(found) == {"id", "media", "reason"}
        assert found["media"] == str(videos / broken[found["id"]]["media"])
        assert BROKEN[found["id"]] in found["reason"]
        assert found["media"] not in found["reason"]  # which stands beside it
        assert "Error:" not in found["reason"]


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
        assert f"{failure['id']}.mp4" not in failure["reason"]
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
    with _started(manifest, tmp_path / "b", *two, "--workers=2") as process:
        _kill_after(process, tmp_path / "b", 1)
    kept = _shards(tmp_path / "b")
    assert kept and all(expected[name] == kept[name] for name in kept)
    assert not (tmp_path / "b" / "spec.json").exists()
    with pytest.raises(FileNotFoundError):
        records.open_records(str(tmp_path / "b"))
    half = tmp_path / "b" / f"train-00002-of-00003.tfrecord.{'0' * 32}.tmp"
    half.write_bytes(b"half a shard")
    resumed = _extract(manifest, tmp_path / "b", *two, "--workers=2")
    assert resumed.returncode == 0, resumed.stderr
    assert _shards(tmp_path / "b") == expected
    assert not half.exists()

    other = _extract(manifest, tmp_path / "b", *two, "--seed=1")
    assert other.returncode == 1
    assert "begun with other input or other settings" in other.stderr
    assert _shards(tmp_path / "b") == expected

    # A shard that was cut is made again.
    cut = tmp_path / "b" / "train-00001-of-00003.tfrecord"
    cut.write_bytes(cut.read_bytes()[:1000])
    assert _extract(manifest, tmp_path / "b", *two).returncode == 0
    assert _shards(tmp_path / "b") == expected


@pytest.mark.slow
def test_a_folder_that_grows_survives_a_kill(videos, tmp_path):
    """test_growth kills at every moment, in one process."""
    old = _manifest(videos, "old.jsonl", _lines("0", "1", "2"))
    new = _manifest(videos, "new.jsonl", _lines("1", "2", "3", "4"))
    one_each = "--recordings_per_shard=1"
    assert _extract(old, tmp_path / "r", one_each).returncode == 0
    before = records.open_records(str(tmp_path / "r")).fingerprint
    with _started(new, tmp_path / "r", one_each, "--workers=1") as process:
        _kill_after(process, tmp_path / "r", 5)
    assert records.open_records(str(tmp_path / "r")).fingerprint == before
    grown = _extract(new, tmp_path / "r", one_each)
    assert "kept 2, made 2, dropped 1, moved 0" in grown.stdout, grown.stderr
    assert _extract(new, tmp_path / "fresh", one_each).returncode == 0
    assert _shards(tmp_path / "r") == _shards(tmp_path / "fresh")


@pytest.mark.slow
def test_the_threads_of_a_worker_do_not_change_a_shard(videos, tmp_path):
    recordings = tuple(Recording(n, str(videos / f"{n}.mp4")) for n in "01234")
    name = "all-00000-of-00001.tfrecord"
    made = []
    for n_threads in (1, 3):
        folder = tmp_path / str(n_threads)
        task = shard_tasks.ShardTask(str(folder), name, recordings, CONFIG)
        with workers.Workers(n_workers=1, n_threads=n_threads) as pool:
            (result,) = pool.make_shards([task])
        assert result.spec.n_records == 5
        made.append(_shards(folder))
    assert made[0] == made[1]


@pytest.mark.slow
def test_a_thousand_recordings_of_which_some_are_broken_survive_a_kill(
    videos, broken, tmp_path
):
    for i in range(3):
        _write_video(videos / f"short{i}.mp4", 1, seed=20 + i)
    random = np.random.default_rng(0)
    kinds = [None] * 950 + [list(broken)[i % len(broken)] for i in range(50)]
    lines, reasons = [], {}
    for i, kind in enumerate(random.permutation(np.array(kinds, object))):
        line = broken[kind] if kind else {"media": f"short{i % 3}.mp4"}
        lines.append({**line, "id": f"{i:04d}"})
        if kind:
            reasons[f"{i:04d}"] = BROKEN[kind]
    manifest = _manifest(videos, "thousand.jsonl", lines)
    out_dir = tmp_path / "records"
    with _started(manifest, out_dir) as process:
        _kill_after(process, out_dir, 10)
    notes = {p.name for p in (out_dir / "progress").glob("*.tfrecord.json")}
    kept = {p: p.stat().st_mtime_ns for p in out_dir.glob("*.tfrecord")}
    # A worker may have put its shard down, and been killed before the note.
    assert len(kept) >= 10 and len(kept) - len(notes) <= 2
    done = _extract(manifest, out_dir)
    assert done.returncode == 1 and "50 of 1000 recordings failed" in done.stderr
    for path, made in kept.items():
        if f"{path.name}.json" in notes:
            assert path.stat().st_mtime_ns == made
    assert not list(out_dir.glob("*.tmp"))
    opened = records.open_records(str(out_dir))
    assert opened.n_records == 950
    for name, content in _shards(out_dir).items():
        assert hashlib.sha256(content).hexdigest() == opened.spec.shards[name].sha256
    failures = (out_dir / "failures.jsonl").read_text().splitlines()
    failures = {f["id"]: f["reason"] for f in map(json.loads, failures)}
    assert failures.keys() == reasons.keys()
    for name, reason in failures.items():
        assert reasons[name] in reason


@pytest.mark.slow
def test_what_is_finished_needs_no_backbone(videos, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(efficientnet_lite.packaged_weights().read_bytes())
    manifest = _manifest(videos, "two.jsonl", _lines("0", "1"))
    arguments = (manifest, tmp_path / "a", f"--weights_2d={weights}")
    one_each = "--recordings_per_shard=1"
    assert _extract(*arguments, one_each).returncode == 0
    spec = (tmp_path / "a" / "spec.json").read_bytes()
    weights.unlink()
    (tmp_path / "a" / "spec.json").unlink()
    assert _extract(*arguments, one_each).returncode == 0
    assert (tmp_path / "a" / "spec.json").read_bytes() == spec
    # What is not finished does, and no recording is to blame.
    (tmp_path / "a" / "train-00001-of-00002.tfrecord").unlink()
    done = _extract(*arguments, one_each)
    fails_in_one_line(done, "weights.pth")
    assert not (tmp_path / "a" / "failures.jsonl").read_text()


real_extract = extraction.extract


def _die_over_two(recordings, *arguments, **settings):
    for found in real_extract(recordings, *arguments, **settings):
        if "2" in [recording.id for recording in recordings]:
            os._exit(9)
        yield found


def _use_dying_extract(function, *arguments):
    extraction.extract = _die_over_two
    return function(*arguments)


@pytest.mark.slow
def test_a_recording_that_kills_its_worker_is_left_out(videos, tmp_path, monkeypatch):
    recordings = tuple(Recording(n, str(videos / f"{n}.mp4")) for n in "0123")
    name = "all-00000-of-00001.tfrecord"
    task = shard_tasks.ShardTask(str(tmp_path), name, recordings, CONFIG)
    real_here = workers.Workers._here

    def here(self, function):
        return functools.partial(real_here(self, _use_dying_extract), function)

    monkeypatch.setattr(workers.Workers, "_here", here)
    with workers.Workers(n_workers=1) as pool:
        (result,) = pool.make_shards([task])
    assert result.spec.n_records == 3
    (failure,) = result.failures
    assert failure["id"] == "2" and "worker process died" in failure["reason"]
    assert shards.read_result(str(tmp_path), name) == result


def test_an_odd_error_is_a_failure_of_its_recording(videos, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("odd")

    monkeypatch.setattr(media, "decode", broken)
    assert _extract_one(Recording("r", "r.mp4")) == "RuntimeError: odd"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--manifest=no-such.jsonl"], "no-such.jsonl: no such manifest"),
        (["--backbone_2d=resnet9000"], "resnet9000"),
        (["--backbone_2d="], "both empty"),
        (["--backbone_3d=resnext101_3d", "--frames=key"], "an image CNN alone"),
    ],
)
def test_a_slip_is_told_in_one_line(videos, tmp_path, more, text):
    manifest = _manifest(videos, "one.jsonl", _lines("0"))
    done = _extract(manifest, tmp_path / "records", *more)
    assert done.returncode == 1
    assert text in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "records").exists()
