"""data_prep.howto100m_videos on the published lists; the authors' rule for captions."""

import json
import pickle

import numpy as np
import pytest
from programs import fails_in_one_line
from small_corpora import adapt, lines, report, video

from data_prep.captions import extended

CSV = """\
video_id,category_1,category_2,rank,task_id
nVbIUDjzWY4,Cars & Other Vehicles,Motorcycles,27,52907
_97kyZVWVG0,Hobbies and Crafts,Crafts,34,119814
-kjnR3-ZVts,Food and Entertaining,Drinks,6,25938
"""
CAPTIONS = {
    "nVbIUDjzWY4": {
        "start": [0.0, 0.25, 0.5, 3.0],
        "end": [0.2, 0.5, 0.75, 4.0],
        "text": ["turn", "the", float("nan"), "later"],
    },
    "-kjnR3-ZVts": {"start": [0.0], "end": [0.0], "text": ["nothing"]},
}


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "HowTo100M_v1.csv").write_text(CSV)
    (tmp_path / "caption.json").write_text(json.dumps(CAPTIONS))
    video(tmp_path / "videos" / "Cars" / "Motorcycles" / "nVbIUDjzWY4.mp4")
    video(tmp_path / "videos" / "_97kyZVWVG0.webm")
    video(tmp_path / "videos" / "-kjnR3-ZVts.mkv")
    return tmp_path


def _adapt(tree, *arguments, csv="HowTo100M_v1.csv"):
    flags = (f"--csv={tree}/{csv}", f"--videos={tree}/videos", *arguments)
    return adapt("howto100m_videos", tree / "m.jsonl", *flags)


def test_random_windows_need_no_clips(tree):
    done = _adapt(tree)
    assert done.returncode == 0, done.stderr
    found = lines(tree / "m.jsonl")
    assert list(found) == ["nVbIUDjzWY4", "_97kyZVWVG0", "-kjnR3-ZVts"]
    assert not any("clips" in line for line in found.values())
    assert found["_97kyZVWVG0"] == {
        "id": "_97kyZVWVG0",
        "media": "videos/_97kyZVWVG0.webm",
        "language": "en",
        "split": "train",
        "duration_s": pytest.approx(1, abs=0.1),
        "labels": {"category_1": "Hobbies and Crafts", "category_2": "Crafts"},
    }


def test_the_authors_list_of_paths_is_read(tree):
    rows = ["path", "None/Cars/Motorcycles/nVbIUDjzWY4", "Crafts/_97kyZVWVG0", "x/gone"]
    (tree / "train.csv").write_text("\n".join(rows) + "\n")
    fails_in_one_line(_adapt(tree, csv="train.csv"), "1 missing (gone")
    _adapt(tree, "--drop=missing", csv="train.csv")
    assert list(lines(tree / "m.jsonl")) == ["nVbIUDjzWY4", "_97kyZVWVG0"]


@pytest.mark.parametrize("kind", ["json", "pickle", "folder"])
def test_captions_become_clips_of_a_length(tree, kind):
    flag = f"--captions={tree}/caption.{kind}"
    if kind == "pickle":
        value = {k: {n: np.array(v) for n, v in c.items()} for k, c in CAPTIONS.items()}
        value["nVbIUDjzWY4"]["text"] = CAPTIONS["nVbIUDjzWY4"]["text"]
        value["-kjnR3-ZVts"]["text"] = ["nothing"]
        (tree / "caption.pickle").write_bytes(pickle.dumps(value))
    elif kind == "folder":
        flag = f"--captions_dir={tree}/captions"
        (tree / "captions").mkdir()
        for name, columns in CAPTIONS.items():
            rows = zip(columns["start"], columns["end"], columns["text"], strict=True)
            text = "".join(f"{s},{e},{t if t == t else ''}\n" for s, e, t in rows)
            (tree / "captions" / f"{name}.csv").write_text("start,end,text\n" + text)
    done = _adapt(tree, "--clips=asr", flag, "--min_clip_s=0.45", "--nocheck_media")
    assert done.returncode == 0, done.stderr
    found = lines(tree / "m.jsonl")
    assert found["nVbIUDjzWY4"]["clips"] == [
        {"start_s": 0.0, "end_s": 0.5, "label": "turn the"},
        {"start_s": 0.0, "end_s": 0.5, "label": "turn the"},
        {"start_s": 0.25, "end_s": 0.75, "label": "the"},
        {"start_s": 3.0, "end_s": 4.0, "label": "later"},
    ]
    assert report(tree / "m.jsonl") == {"uncaptioned": ["_97kyZVWVG0"]}
    assert "1 caption without a span" in done.stdout

    # With the length of the video known, what lies behind it makes no clip.
    done = _adapt(tree, "--clips=asr", flag, "--min_clip_s=0.45")
    assert len(lines(tree / "m.jsonl")["nVbIUDjzWY4"]["clips"]) == 3
    assert "2 captions without a span inside of the video" in done.stdout


def test_wrong_flags_and_files_end_in_one_line(tree):
    captions = f"--captions={tree}/caption.json"
    fails_in_one_line(_adapt(tree, "--clips=asr"), "--clips=asr needs either")
    fails_in_one_line(_adapt(tree, captions), "random clips need none")
    (tree / "caption.json").write_text('{"nVbIUDjzWY4": {"start": [1]}}')
    done = _adapt(tree, captions, "--clips=asr")
    fails_in_one_line(done, "the captions of nVbIUDjzWY4 are not lists")
    assert not [path for path in tree.iterdir() if path.name.startswith("m.jsonl")]
    (tree / "HowTo100M_v1.csv").write_text("id\na\n")
    fails_in_one_line(_adapt(tree), "expected a column video_id or path, got id")
    (tree / "HowTo100M_v1.csv").write_text("video_id,rank\n,1\n")
    fails_in_one_line(_adapt(tree), "entry 1 of the corpus has an empty id")


def _authors(captions, index, min_time):
    """The authors' loop, on (start, end) pairs: first and last caption of a clip."""
    first = last = index
    while captions[last][1] - captions[first][0] < min_time:
        can_go_back, can_go_on = first > 0, last < len(captions) - 1
        if not (can_go_back or can_go_on):
            break
        back = captions[last][1] - captions[first - 1][0] if can_go_back else np.inf
        on = captions[last + 1][1] - captions[first][0] if can_go_on else np.inf
        if back <= on:
            first -= 1
        else:
            last += 1
    return captions[first][0], captions[last][1]


def test_extension_is_the_authors():
    random = np.random.default_rng(0)
    starts = np.cumsum(random.uniform(0, 5, 40)).round(2)
    ends = (starts + random.uniform(1, 6, 40)).round(2)
    captions = list(zip(starts, ends, strict=True))
    clips = extended([(s, e, str(i)) for i, (s, e) in enumerate(captions)], 10)
    assert [clip[:2] for clip in clips] == [
        _authors(captions, index, 10) for index in range(40)
    ]
    assert min(end_s - start_s for start_s, end_s, _ in clips) >= 10
    # Hand-made: a tie goes to the caption before; the ends of the video bound it.
    three = [(0.0, 1.0, "a"), (1.0, 2.0, "b"), (2.0, 3.0, "c")]
    assert extended(three, 2) == [(0, 2, "a b"), (0, 2, "a b"), (1, 3, "b c")]
    assert extended(three, 9) == [(0, 3, "a b c")] * 3
    assert extended(three, 0) == three
    assert extended([(2.0, 1.0, "x"), (-1.0, 0.5, "y")], 0) == []


def test_spaces_around_an_id_are_none_of_it(tree):
    text = CSV.replace("_97ky", " _97ky").replace("GO,Hob", "GO\u00a0,Hob")
    (tree / "HowTo100M_v1.csv").write_text(
        text.replace("nVbIUDjzWY4,", "nVbIUDjzWY4\t,")
    )
    (tree / "caption.json").write_text(
        json.dumps({f" {video} ": spoken for video, spoken in CAPTIONS.items()})
    )
    done = _adapt(tree, "--clips=asr", f"--captions={tree}/caption.json")
    assert done.returncode == 0, done.stderr
    assert list(lines(tree / "m.jsonl")) == ["nVbIUDjzWY4", "-kjnR3-ZVts"]
    (tree / "HowTo100M_v1.csv").write_text(
        text.replace("video_id", " video_id ").replace("WG0,", "WG0 ,")
    )
    done = _adapt(tree)
    assert done.returncode == 0, done.stderr
    assert list(lines(tree / "m.jsonl")) == [
        "nVbIUDjzWY4",
        "_97kyZVWVG0",
        "-kjnR3-ZVts",
    ]
    (tree / "paths.csv").write_text("path\n Cars/None/Motorcycles/nVbIUDjzWY4 \n")
    assert _adapt(tree, csv="paths.csv").returncode == 0
    assert list(lines(tree / "m.jsonl")) == ["nVbIUDjzWY4"]


def test_odd_captions_cost_themselves(tree):
    odd = {
        "nVbIUDjzWY4": {
            "start": [0.0, float("nan"), 0.2, 0.5],
            "end": [0.2, 0.3, float("inf"), 0.7],
            "text": ["cut \ud83d", "never", "no end", "a\0b"],
        }
    }
    (tree / "caption.json").write_text(json.dumps(odd))
    captions = f"--captions={tree}/caption.json"
    flags = ("--clips=asr", "--min_clip_s=0.1", captions, "--nocheck_media")
    done = _adapt(tree, *flags)
    assert done.returncode == 0, done.stderr
    assert lines(tree / "m.jsonl")["nVbIUDjzWY4"]["clips"] == [
        {"start_s": 0.0, "end_s": 0.2, "label": "cut \ufffd"},
        {"start_s": 0.5, "end_s": 0.7, "label": "a\ufffdb"},
    ]
    whole = '{"nVbIUDjzWY4": {"start": [0, 0], "end": [0.1], "text": []}'
    (tree / "caption.json").write_text(
        f'{whole}, "_97kyZVWVG0": {{"start": [0.0], "end": [0.5], "text": ["x"]}}}}'
    )
    done = _adapt(tree, *flags)
    fails_in_one_line(done, "the captions of nVbIUDjzWY4 are not", "--drop=unfit")
    done = _adapt(tree, *flags, "--drop=unfit")
    assert done.returncode == 0, done.stderr
    assert list(lines(tree / "m.jsonl")) == ["_97kyZVWVG0"]
