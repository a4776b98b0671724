"""data_prep.msrvtt on the published layout."""

import json

import pytest
from programs import fails_in_one_line
from small_corpora import adapt, lines, report, video


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "msrvtt_data"
    folder.mkdir()
    sources = {0: "a", 1: "b", 2: "c", 7: "d", 8: "c", 9: "e"}
    data = {
        "info": {"version": "1.0"},
        "videos": [
            {
                "category": 9,
                "url": f"https://www.youtube.com/watch?v={sources[number]}",
                "video_id": f"video{number}",
                "start time": 137.72,
                "end time": 149.44,
                "split": "train",
                "id": number,
            }
            for number in sources
        ],
        "sentences": [
            {"caption": f"caption {i} of {number}", "video_id": f"video{number}"}
            for number in sources
            if number != 1
            for i in range(2)
        ],
    }
    (folder / "MSRVTT_data.json").write_text(json.dumps(data))
    (folder / "MSRVTT_train.7k.csv").write_text("video_id\nvideo0\nvideo1\n")
    (folder / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo1\nvideo2\n")
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\n"
        "ret0,msr7,video7,a woman is cooking\n"
        'ret1,msr8,video8,"he walks, and talks"\n'
        "ret2,msr9,video9,a silent film\n"
    )
    for number, kind in {
        0: "good",
        1: "good",
        2: "zeros",
        7: "good",
        8: "good",
    }.items():
        video(tmp_path / "videos" / "all" / f"video{number}.mp4", kind)
    video(tmp_path / "videos" / "all" / "video9.mp4", "mute")
    return tmp_path


def _adapt(tree, *arguments):
    return adapt(
        "msrvtt",
        tree / "m.jsonl",
        f"--annotations={tree}/msrvtt_data",
        f"--videos={tree}/videos",
        *arguments,
    )


def test_the_7k_list_and_the_test_list(tree):
    done = _adapt(tree, "--nocheck_media")
    assert done.returncode == 0, done.stderr
    found = lines(tree / "m.jsonl")
    splits = {name: line["split"] for name, line in found.items()}
    assert splits == {
        "video0": "train",
        "video1": "train",
        "video7": "test",
        "video8": "test",
        "video9": "test",
    }
    assert "duration_s" not in found["video0"]
    assert found["video0"]["labels"] == {
        "captions": ["caption 0 of 0", "caption 1 of 0"]
    }
    assert found["video8"]["labels"] == {"sentence": "he walks, and talks"}
    assert report(tree / "m.jsonl") == {"uncaptioned": ["video1"]}
    assert "population" not in done.stdout


def test_silent_videos_count_in_the_population(tree):
    fails_in_one_line(_adapt(tree, "--training=9k"), "2 silent (video2: ", "; video9: ")
    done = _adapt(tree, "--training=9k", "--drop=silent")
    assert list(lines(tree / "m.jsonl")) == ["video0", "video1", "video7", "video8"]
    assert "2 of 3 are left" in done.stdout
    assert "--evaluation_population=3" in done.stdout
    # 1k-A trains on other parts of videos that are tested.
    assert report(tree / "m.jsonl")["same source"] == ["video2"]


def test_overlapping_lists_and_twice_listed_videos_are_found(tree):
    (tree / "msrvtt_data" / "MSRVTT_train.7k.csv").write_text(
        "video_id\nvideo0\nvideo7\nvideo0\n"
    )
    done = _adapt(tree)
    fails_in_one_line(
        done, "1 duplicates (video0", "1 overlap (video7", "1 silent (video9"
    )
    _adapt(tree, "--drop=overlap,duplicates", "--nocheck_media")
    found = lines(tree / "m.jsonl")
    assert found["video7"]["split"] == "test" and len(found) == 4


def test_missing_and_wrong_files_end_in_one_line(tree):
    fails_in_one_line(_adapt(tree, "--training=8k"), "--training")
    data = tree / "msrvtt_data" / "MSRVTT_data.json"
    whole = data.read_text()
    data.write_text(whole.replace('"sentences": [', '"sentences": [{}, '))
    fails_in_one_line(_adapt(tree), "1 unfit (sentence 1", "'video_id' must be a str")
    data.write_text(whole)
    (tree / "msrvtt_data" / "MSRVTT_JSFUSION_test.csv").write_text("video_id\nvideo7\n")
    fails_in_one_line(_adapt(tree), "expected the header video_id,sentence")
    (tree / "msrvtt_data" / "MSRVTT_train.7k.csv").unlink()
    data.write_text('{"sentences": []}')
    fails_in_one_line(_adapt(tree), "no MSRVTT_train.7k.csv in it or below")
