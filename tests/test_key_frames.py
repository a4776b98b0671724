"""Features of key frames: which they are, and who is told that they are."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import tensorflow as tf
from made_media import make_media, numbered, read_number, sine
from test_odd_files import INFO
from test_sparing import moving

from avl_tf import extraction, media, records, runs
from avl_tf.backbones import Backbone
from avl_tf.dataset import join_faults
from avl_tf.errors import UserError
from avl_tf.extraction.frame_batches import FrameBatches
from avl_tf.manifest import Recording
from avl_tf.media.progress import Progress
from avl_tf.records import FeatureSpec
from avl_tf.retrieval import making
from avl_tf.retrieval.tasks import Model
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.trained import identity, sources
from data_prep import jobs

_X264 = "scenecut=0:bframes=3:b-adapt=0"
_VIEW = media.View(1, only_keys=True)
KEY = FeatureSpec("efficientnet_lite0", 1280, 1.0, "key")
_VP9 = {
    "video_codec": "libvpx-vp9",
    "video_options": {"deadline": "realtime", "cpu-used": "8"},
}


def _make(path, gop=40, n_frames=150, more="", sound=True, draw=numbered, **changes):
    changes = {"video_options": {"x264-params": _X264 + more}} | changes
    rate = 48000 if path.suffix == ".webm" else 44100
    if path.suffix == ".webm":
        changes["audio_codec"] = "libopus"
    heard = sine(n_frames / 25, rate=rate) if sound else None
    frames = [draw(i) for i in range(n_frames)]
    return make_media(path, frames, heard, rate=rate, gop=gop, **changes)


def _decode(path, *span, view=_VIEW, sparing=True, notes=None):
    """The pictures, and how often they were forgotten."""
    pictures, n_resets = [], 0
    for index, array in media.decode(
        path, 16000, [view], *span, notes=notes, sparing=sparing
    ):
        if index == 0 and array is None:
            pictures, n_resets = [], n_resets + 1
        elif index == 0:
            pictures.append(array)
    return pictures, n_resets


@pytest.mark.parametrize(
    ("gop", "span", "expected"),
    [
        # Key frames at 0, 1.6, 3.2, 4.8 s: second 4 is midway, the earlier is taken.
        (40, (0.0, None), [0, 40, 40, 80, 80, 120]),
        (40, (3.3, 4.9), [80, 120]),
        (40, (5.5, None), [120]),
        (10, (0.0, None), [0, 20, 50, 70, 100, 120]),
        (1000, (0.0, None), [0] * 6),  # the only one
        (1000, (4.4, 5.6), [0, 0]),
    ],
)
def test_each_second_has_its_nearest_key_frame(tmp_path, gop, span, expected):
    path, notes = _make(tmp_path / "video.mp4", gop), []
    pictures, n_resets = _decode(path, *span, notes=notes)
    assert [read_number(one) for one in pictures] == expected
    assert n_resets == 0 and notes == []


@pytest.mark.parametrize(
    ("name", "settings", "is_sure"),
    [
        ("closed.ts", {}, True),
        ("open.mp4", {"more": ":open-gop=1", "gop": 20}, True),
        ("jitter.mp4", {"pts": [7 * i + i % 3 * 20 for i in range(0, 900, 6)]}, True),
        ("vp9.webm", _VP9, True),
        ("mpeg4.mp4", {"video_codec": "mpeg4", "video_options": {}}, True),
        ("intra.mp4", {"gop": 1}, True),
        ("refresh.mp4", {"more": ":intra-refresh=1", "gop": 20}, False),
        ("interlaced.mp4", {"more": ":interlaced=1"}, False),
        ("bframes.avi", {"audio_codec": "mp3"}, True),
    ],
)
def test_they_are_those_that_decoding_all_gives(
    tmp_path, monkeypatch, name, settings, is_sure
):
    path = _make(tmp_path / name, draw=moving, **settings)
    decoded = []
    note_frame = Progress.note_frame

    def count(self, frame):
        decoded.extend([frame] * (self.stream.type == "video"))
        return note_frame(self, frame)

    monkeypatch.setattr(Progress, "note_frame", count)
    for span in [(0.0, None), (3.3, 4.9)]:
        all_frames, _ = _decode(path, *span, view=media.View(1), sparing=False)
        slowly, _ = _decode(path, *span, sparing=False)
        decoded.clear()
        found, n_resets = _decode(path, *span)
        assert len(found) == len(slowly) == len(all_frames)
        assert all(map(np.array_equal, found, slowly))
        assert n_resets == (not is_sure)
        if is_sure and name != "bframes.avi":
            assert len(decoded) <= len(found) + 2


def test_damage_between_key_frames_passes_and_in_them_is_told(tmp_path):
    path = _make(tmp_path / "video.mp4", gop=50, n_frames=200, draw=moving)
    whole, _ = _decode(path)
    content = path.read_bytes()
    for begin, end, passes in ((2.1, 3.9, True), (3.9, 4.1, False)):
        path.write_bytes(_damaged(path, content, begin, end))
        if passes:
            assert all(map(np.array_equal, _decode(path)[0], whole))
        else:
            with pytest.raises(media.MediaError, match="decodes only to"):
                _decode(path)


def _damaged(path, content, begin_s, end_s):
    path.write_bytes(content)
    damaged = bytearray(content)
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size and begin_s < packet.pts * packet.time_base < end_s:
                begin, end = packet.pos + 60, packet.pos + packet.size
                damaged[begin:end] = np.random.default_rng(0).bytes(end - begin)
    return bytes(damaged)


def _backbone(seen):
    def network(frames):
        seen.append(len(frames))
        return tf.cast(frames[:, 0, :8, 0], tf.float32) + 1

    return Backbone("fake", 8, 1, 16, None, 1, "", network)


def test_the_cnn_sees_a_frame_once(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(extraction, "load_backbone", lambda *_: _backbone(seen))
    extraction._backbone.cache_clear()
    path = _make(tmp_path / "video.mp4", draw=moving)
    config = ExtractionConfig("fake", "", "", "", frames="key")
    assert extraction.feature_specs(config)["features_2d"].frames == "key"
    recording = Recording("r", str(path))
    (record,) = extraction.extract([recording], config)
    assert sum(seen) == 4
    every = dataclasses.replace(config, frames="all")
    (usual,) = extraction.extract([recording], every)
    extraction._backbone.cache_clear()
    features = record.features_2d
    assert features.shape == usual.features_2d.shape and sum(seen) == 4 + 6
    assert np.array_equal(features[1], features[2])
    assert np.array_equal(features[0], usual.features_2d[0])
    assert not np.array_equal(features[2], usual.features_2d[2])
    assert np.array_equal(record.log_mel, usual.log_mel)


def test_repeats_are_counted_anew_when_all_is_forgotten():
    seen = []
    frames = np.zeros((3, 4, 16, 3), np.uint8) + np.arange(3)[:, None, None, None]
    frames = list(frames.astype(np.uint8))
    with ThreadPoolExecutor(1) as pool:
        batches = FrameBatches(_backbone(seen), pool, 1, repeats=True)
        batches.put(frames[0])
        batches.put(frames[0])
        batches.forget()
        for index in (0, 1, 1, 1, 2):
            batches.put(frames[index])
        (found,) = batches.finish()
    assert found[:, 0].tolist() == [1, 2, 2, 2, 3] and seen == [3]


def test_embedding_a_video_sees_what_records_were_made_of(tmp_path):
    seen = []
    path = _make(tmp_path / "video.mp4", draw=moving)
    backbones = {"features_2d": _backbone(seen)}
    found = [
        sources.pooled(path, backbones, 16000, media.Wanted(), only_keys=only_keys)
        for only_keys in (False, True)
    ]
    by_hand = np.stack(_decode(path, view=media.View(1, 16, only_keys=True))[0])
    rows = by_hand[:, 0, :8, 0].astype(np.float32) + 1
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    highest = rows.max(axis=0) / np.linalg.norm(rows.max(axis=0))
    np.testing.assert_allclose(found[1]["visual"], highest, atol=1e-3)
    assert np.abs(found[0]["visual"] - found[1]["visual"]).max() > 0.01


def test_an_index_extracts_as_the_models_records_were_made(monkeypatch):
    class Embedder:
        spec = records.RecordsSpec(
            INFO.model.audio, "recording", KEY, None, (), False, {}
        )

    monkeypatch.setattr(making, "_embedder", lambda _: Embedder)
    making._extraction.cache_clear()
    found = making._extraction(Model("run"))
    making._extraction.cache_clear()
    assert (found.frames, found.backbone_2d) == ("key", "efficientnet_lite0")


@pytest.mark.parametrize(
    "settings", [{"backbone_3d": "resnext101_3d"}, {"backbone_2d": "resnext101_3d"}]
)
def test_a_video_cnn_is_refused(settings):
    with pytest.raises(UserError, match="--frames=key is for an image CNN alone"):
        ExtractionConfig(**settings, frames="key")


def test_a_folder_holds_features_of_one_kind(tmp_path):
    def claim(config):
        job = jobs.extraction([], config, 0, 16)
        return jobs.claim(str(tmp_path), job)

    config = ExtractionConfig("efficientnet_lite0", "", "", "")
    claim(config)
    path = tmp_path / "progress" / "job.json"
    note = json.loads(path.read_text())
    del note["settings"]["frames"]  # as an earlier version wrote it
    path.write_text(json.dumps(note))
    claim(config)
    with pytest.raises(UserError, match="frames was all, now key"):
        claim(dataclasses.replace(config, frames="key"))


def test_a_model_of_other_frames_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(runs.logging, "warning", lambda text, *a: told.append(text % a))
    spec = records.RecordsSpec(INFO.model.audio, "recording", KEY, None, (), False, {})
    found = records.RecordSet("key/eval", spec, "", (), ())
    for frames in ("key", "all"):
        seen = dataclasses.replace(KEY, frames=frames)
        runs.check_records(dataclasses.replace(INFO, features_2d=seen), found, "run")
    assert told == [
        "key/eval: its features_2d are of --frames=key (data_prep.extract), those of "
        "run of --frames=all."
    ]


def test_what_is_written_of_all_frames_is_as_ever_and_of_key_frames_says_so(tmp_path):
    usual = dataclasses.replace(KEY, frames="all")
    digests = set()
    for stream, written in ((KEY, "key"), (usual, None)):
        spec = records.RecordsSpec(
            INFO.model.audio, "recording", stream, None, (), False, {}
        )
        value = json.loads(json.dumps(spec.to_json()))
        assert value["features_2d"].get("frames") == written
        assert records.RecordsSpec.from_json(value, "spec.json") == spec
        info = dataclasses.replace(INFO, features_2d=stream)
        runs.write_info(str(tmp_path), info)
        value = json.loads((tmp_path / "run.json").read_text())
        assert value["features_2d"].get("frames") == written
        assert runs.read_info(str(tmp_path)) == info
        digests.add(identity.digest(info, []))
    assert len(digests) == 2
    with pytest.raises(UserError, match="'features: frames' must|'frames' must be"):
        FeatureSpec("x", 1, 1.0, "some")
    told = join_faults._difference(KEY, usual)
    assert told == "frames is key and all"
