"""data_prep.youcook2 on the published layout."""

import json

import pytest
from programs import fails_in_one_line
from small_corpora import adapt, lines, report, video

DATABASE = {
    "GLd3aX16zBg": ("training", "113", [(0.1, 0.6, "spread margarine on bread")]),
    "-AwyG1JcMp8": ("training", "301", [(0, 0.5, "cut"), (0.5, 1, "fry, ö")]),
    "xHr8X2Wpmno": (
        "validation",
        "113",
        [(0.2, 0.9, "pick the ends off")],
    ),
    "gone_______": ("validation", "405", [(0, 1, "stir")]),
}


def _write(path, database):
    entries = {
        video_id: {
            "duration": 1.0,
            "subset": subset,
            "recipe_type": recipe,
            "annotations": [
                {"segment": [start_s, end_s], "id": index, "sentence": sentence}
                for index, (start_s, end_s, sentence) in enumerate(segments)
            ],
            "video_url": f"https://www.youtube.com/watch?v={video_id}",
        }
        for video_id, (subset, recipe, segments) in database.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"database": entries}))


def _lists(tree, train, val):
    (tree / "splits").mkdir(exist_ok=True)
    (tree / "splits" / "train_list.txt").write_text("".join(f"{v}\n" for v in train))
    (tree / "splits" / "val_list.txt").write_text("".join(f"{v}\n" for v in val))


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "youcook2"
    _write(tree / "annotations" / "youcookii_annotations_trainval.json", DATABASE)
    video(tree / "raw_videos" / "training" / "113" / "GLd3aX16zBg.mp4")
    video(tree / "raw_videos" / "training" / "301" / "-AwyG1JcMp8.webm")
    video(tree / "raw_videos" / "validation" / "113" / "xHr8X2Wpmno.mkv")
    (tree / "raw_videos" / "validation" / "113" / "xHr8X2Wpmno.jpg").write_text("cover")
    (tree / "raw_videos" / "validation" / "gone_______.mp4.part").write_text("half")
    return tree


def _adapt(tree, *arguments):
    return adapt(
        "youcook2",
        tree / "m.jsonl",
        f"--annotations={tree}",
        f"--videos={tree}/raw_videos",
        *arguments,
    )


def test_videos_come_with_their_steps(tree):
    done = _adapt(tree)
    fails_in_one_line(done, "1 missing (gone_______", "--drop=missing leaves them out")
    assert not (tree / "m.jsonl").exists()
    done = _adapt(tree, "--drop=missing")
    assert done.returncode == 0, done.stderr
    found = lines(tree / "m.jsonl")
    assert list(found) == ["GLd3aX16zBg", "-AwyG1JcMp8", "xHr8X2Wpmno"]
    assert [line["split"] for line in found.values()] == ["train", "train", "val"]
    assert found["-AwyG1JcMp8"]["clips"] == [
        {"start_s": 0, "end_s": 0.5, "label": "cut"},
        {"start_s": 0.5, "end_s": 1, "label": "fry, ö"},
    ]
    assert found["xHr8X2Wpmno"]["media"] == "raw_videos/validation/113/xHr8X2Wpmno.mkv"
    assert found["xHr8X2Wpmno"]["labels"] == {"recipe_type": "113"}
    assert "2 recordings in train with 3 clips, 1 recording in val" in done.stdout
    assert report(tree / "m.jsonl") == {"missing": ["gone_______"]}


def test_lists_decide_the_split_and_their_overlap_is_found(tree):
    _lists(
        tree,
        ["113/GLd3aX16zBg", "301/-AwyG1JcMp8", "113/xHr8X2Wpmno"],
        ["113/xHr8X2Wpmno", "301/-AwyG1JcMp8", "226/unknown____"],
    )
    done = _adapt(tree)
    fails_in_one_line(done, "2 overlap (-AwyG1JcMp8: ", "; xHr8X2Wpmno: ")
    done = _adapt(tree, "--drop=overlap")
    assert done.returncode == 0, done.stderr
    splits = {name: line["split"] for name, line in lines(tree / "m.jsonl").items()}
    # Evaluation keeps what is in both.
    assert splits == {
        "GLd3aX16zBg": "train",
        "xHr8X2Wpmno": "val",
        "-AwyG1JcMp8": "val",
    }
    found = report(tree / "m.jsonl")
    assert found["unannotated"] == ["unknown____"]
    assert found["unlisted"] == ["gone_______"]
    assert sorted(found["subset"]) == ["-AwyG1JcMp8", "xHr8X2Wpmno"]


def test_a_video_twice_in_a_list_is_a_duplicate(tree):
    _lists(tree, ["113/GLd3aX16zBg", "113/GLd3aX16zBg"], ["113/xHr8X2Wpmno"])
    fails_in_one_line(_adapt(tree), "1 duplicates (GLd3aX16zBg: the same again)")
    _adapt(tree, "--drop=duplicates")
    assert list(lines(tree / "m.jsonl")) == ["GLd3aX16zBg", "xHr8X2Wpmno"]


def test_segments_that_are_no_span_are_found(tree):
    database = {"GLd3aX16zBg": ("training", "1", [(5, 5, "a"), (0, 1, "b")])}
    database["xHr8X2Wpmno"] = ("validation", "1", [(3, 1, "c")])
    _write(tree / "annotations" / "youcookii_annotations_trainval.json", database)
    spans = "2 span (GLd3aX16zBg: a clip from 5 to 5 s; xHr8X2Wpmno: a clip from 3"
    fails_in_one_line(_adapt(tree), spans)
    _adapt(tree, "--drop=span")
    found = lines(tree / "m.jsonl")
    assert list(found) == ["GLd3aX16zBg"] and len(found["GLd3aX16zBg"]["clips"]) == 1


def test_a_video_in_several_files_is_told(tree):
    video(tree / "raw_videos" / "GLd3aX16zBg.webm")
    _adapt(tree, "--drop=missing")
    assert report(tree / "m.jsonl")["several files"] == ["GLd3aX16zBg"]
    assert lines(tree / "m.jsonl")["GLd3aX16zBg"]["media"].endswith(".mp4")


def test_wrong_files_end_in_one_line(tree):
    path = tree / "annotations" / "youcookii_annotations_trainval.json"
    for text, message in (
        ("{", "not JSON"),
        ("[]", "expected a dict in it, got a list"),
        ("{}", "'database' must be a dict, got None"),
        ('{"database": {"a": {}}}', "json: a: 'subset' must be a str, got None"),
        ('{"database": {"a": 1}}', "json: a: expected an object with 'subset'"),
    ):
        path.write_text(text)
        fails_in_one_line(_adapt(tree), "trainval.json", message)
    path.unlink()
    fails_in_one_line(_adapt(tree), "no youcookii_annotations_trainval.json in it")


def test_one_odd_entry_costs_itself(tree):
    path = tree / "annotations" / "youcookii_annotations_trainval.json"
    value = json.loads(path.read_text())
    database = value["database"]
    database["GLd3aX16zBg"]["annotations"][0]["segment"] = [True, "5"]
    database["-AwyG1JcMp8"]["annotations"][0]["sentence"] = "cut \ud83d"
    database["gone_______"] = None
    database[" xHr8X2Wpmno"] = database.pop("xHr8X2Wpmno")
    path.write_text(json.dumps(value))
    done = _adapt(tree)
    fails_in_one_line(done, "2 unfit (", "GLd3aX16zBg", "gone_______", "--drop=unfit")
    done = _adapt(tree, "--drop=unfit")
    assert done.returncode == 0, done.stderr
    found = lines(tree / "m.jsonl")
    assert sorted(found) == ["-AwyG1JcMp8", "xHr8X2Wpmno"]
    assert found["-AwyG1JcMp8"]["clips"][0]["label"] == "cut \ufffd"
    path.write_text(path.read_text().replace("{", '{"database": 1, ', 1))
    fails_in_one_line(_adapt(tree), "'database' stands twice")
