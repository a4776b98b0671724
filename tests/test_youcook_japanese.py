"""data_prep.youcook_japanese on the published layout."""

import json

import numpy as np
import pytest
import torch_files
from programs import fails_in_one_line
from small_corpora import adapt, lines, report, video

CLIPS = {
    "train": [("vid1", 0.0, 0.5), ("vid1", "0.5", np.float64(0.9)), ("vid2", 0.1, 0.8)],
    "val": [("vid3", 0.25, 0.75)],
    "eval": [("vid4", 0.0, 1.0)],
}


def _clip(identity, start, end, **fields):
    """As the authors' clips: features and log-mel stand beside what is read here."""
    return {
        "id": identity,
        "audio": torch_files.tensor(np.zeros((40, 10), np.float32)),
        "2d": np.zeros(8, np.float32),
        "3d": np.zeros(8, np.float32),
        "start": start,
        "end": end,
        **fields,
    }


def _pickle(release, split, clips):
    path = release / f"youcook_japanese_{split}.pkl"
    path.write_bytes(torch_files.pickle_bytes(clips))


@pytest.fixture
def release(tmp_path):
    release = tmp_path / "YouCook_Japanese"
    release.mkdir()
    for split, clips in CLIPS.items():
        _pickle(release, split, [_clip(*clip) for clip in clips])
    listed = ["vid1", "vid2", "vid3", "vid4"]
    (release / "youcook_japanese_v1.json").write_text(json.dumps(listed))
    for name in ("vid1.mp4", "vid2.mkv", "a/vid3.webm", "vid4.mp4"):
        video(tmp_path / "videos" / name)
    return release


def _adapt(release, *arguments):
    flags = (f"--release={release}", f"--videos={release.parent}/videos", *arguments)
    return adapt("youcook_japanese", release.parent / "m.jsonl", *flags)


def test_videos_come_with_the_clips_of_the_pickles(release):
    done = _adapt(release)
    assert done.returncode == 0, done.stderr
    found = lines(release.parent / "m.jsonl")
    splits = {name: line["split"] for name, line in found.items()}
    assert splits == {"vid1": "train", "vid2": "train", "vid3": "val", "vid4": "eval"}
    assert {line["language"] for line in found.values()} == {"ja"}
    assert found["vid1"]["clips"] == [
        {"start_s": 0.0, "end_s": 0.5, "label": ""},
        {"start_s": 0.5, "end_s": 0.9, "label": ""},
    ]
    assert report(release.parent / "m.jsonl") == {}


def test_clips_may_have_ids_of_their_own(release):
    clips = [_clip("c1", 0, 0.5, video_id="vid1"), _clip("c2", 0.5, 1, video_id="vid1")]
    _pickle(release, "train", clips)
    _adapt(release)
    assert len(lines(release.parent / "m.jsonl")["vid1"]["clips"]) == 2


@pytest.mark.parametrize(
    "listed",
    [
        ["vid1", "vid2", "vid9"],
        ["https://www.youtube.com/watch?v=vid1", "https://youtu.be/vid2", "vid9"],
        [{"id": "vid1"}, {"video_id": "vid2", "title": "x"}, {"url": "x?v=vid9"}],
        {"train": ["vid1", "vid2"], "eval": ["vid9"]},
        {"vid1": {"title": "x"}, "vid2": {}, "vid9": {}},
    ],
)
def test_the_list_of_videos_is_compared(release, listed):
    (release / "youcook_japanese_v1.json").write_text(json.dumps(listed))
    done = _adapt(release)
    assert done.returncode == 0, done.stderr
    assert report(release.parent / "m.jsonl") == {
        "unused": ["vid9"],
        "unlisted": ["vid3", "vid4"],
    }


def test_overlaps_and_missing_videos_are_refused_until_dropped(release):
    _pickle(release, "val", [_clip("vid2", 0, 1), _clip("gone", 0, 1)])
    fails_in_one_line(
        _adapt(release), "1 missing (gone", "1 overlap (vid2", "--drop=missing,overlap"
    )
    _adapt(release, "--drop=missing,overlap")
    found = lines(release.parent / "m.jsonl")
    assert found["vid2"]["split"] == "val" and "gone" not in found


def test_only_some_pickles_will_do(release):
    (release / "youcook_japanese_train.pkl").unlink()
    (release / "youcook_japanese_v1.json").unlink()
    _adapt(release)
    assert list(lines(release.parent / "m.jsonl")) == ["vid3", "vid4"]


def test_wrong_pickles_end_in_one_line(release, tmp_path):
    for value, message in (
        ({"a": 1}, "expected a list of clips, got a dict"),
        ([{"id": "vid1", "audio": 1}], "clip 0: no start and end in seconds, only aud"),
        ([{"start": 0, "end": 1}], "clip 0: no video_id, only end, start"),
    ):
        _pickle(release, "train", value)
        fails_in_one_line(_adapt(release), "youcook_japanese_train.pkl", message)
    harm = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    (release / "youcook_japanese_train.pkl").write_bytes(harm)
    fails_in_one_line(_adapt(release), "youcook_japanese_train.pkl", "system")
    assert not (tmp_path / "ran").exists()
    for path in release.iterdir():
        path.unlink()
    fails_in_one_line(_adapt(release), "no youcook_japanese_train.pkl")
