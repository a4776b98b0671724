import json

import pytest

from data_prep import manifest


def _write(tmp_path, *lines):
    path = tmp_path / "manifest.jsonl"
    text = "".join(
        (line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines
    )
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_full_line_comes_through(tmp_path):
    line = {
        "id": "sw/1",
        "media": "videos/1.mp4",
        "image": "/elsewhere/1.jpg",
        "language": "sw",
        "split": "train",
        "recording_id": "1",
        "start_s": 2,
        "end_s": 30.5,
        "clips": [{"start_s": 0, "end_s": 6, "label": "kuku", "natural_sound": True}],
        "labels": {"licence": "CC0"},
        "synthetic": True,
    }
    (found,) = manifest.read_manifest(_write(tmp_path, line))
    assert found.media == str(tmp_path / "videos" / "1.mp4")
    assert found.image == "/elsewhere/1.jpg"
    assert (found.start_s, found.end_s, found.synthetic) == (2, 30.5, True)
    assert found.clips == tuple(line["clips"]) and found.labels == line["labels"]


def test_a_short_line_has_defaults(tmp_path):
    path = _write(tmp_path, {"id": "a", "media": "a.mp4"}, "")
    (found,) = manifest.read_manifest(path)
    assert (found.language, found.split, found.recording_id) == ("und", "all", "a")
    assert (found.start_s, found.end_s, found.clips) == (0, None, ())


def test_what_is_written_is_read(tmp_path):
    path = str(tmp_path / "new" / "manifest.jsonl")
    manifest.write_manifest(path, [{"id": "ö", "media": "/ö.mp4", "split": "val"}])
    (found,) = manifest.read_manifest(path)
    assert (found.id, found.media, found.split) == ("ö", "/ö.mp4", "val")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["manifest.jsonl"]


GOOD = {"id": "a", "media": "a.mp4"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: expected a JSON object"),
        ({"media": "a.mp4"}, "line 2: 'id' must be a text, got None"),
        ({"id": 7, "media": "a.mp4"}, "line 2: 'id' must be a text, got 7"),
        ({"id": "b"}, "line 2: 'media' must be"),
        ({"id": "b", "media": ""}, "line 2: 'media' must be"),
        ({**GOOD, "id": "b", "meida": 1}, "line 2: unknown field 'meida'"),
        (GOOD, "line 2: id 'a' stands in line 1 already"),
        ({**GOOD, "id": "b", "start_s": 5, "end_s": 5}, "line 2: a span"),
        ({**GOOD, "id": "b", "start_s": -1}, "line 2: a span"),
        ({**GOOD, "id": "b", "end_s": "9"}, "line 2: a span"),
        ({**GOOD, "id": "b", "end_s": float("nan")}, "line 2: a span"),
        ({**GOOD, "id": "b", "clips": {}}, "line 2: 'clips' must be a list"),
        ({**GOOD, "id": "b", "clips": [{"start_s": 0}]}, "line 2: a clip needs"),
        ({**GOOD, "id": "b", "clips": [{"start_s": 3, "end_s": 1}]}, "line 2: a span"),
        ({**GOOD, "id": "b", "split": "../x"}, "line 2: split '../x' names files"),
        ({**GOOD, "id": "b", "labels": []}, "line 2: 'labels' must be an object"),
        ({**GOOD, "id": "b", "recording_id": "a", "split": "val"}, "in the splits"),
    ],
)
def test_a_wrong_line_is_an_error_that_says_where(tmp_path, line, message):
    with pytest.raises(ValueError, match=message) as error:
        manifest.read_manifest(_write(tmp_path, GOOD, line))
    assert "manifest.jsonl" in str(error.value)


def test_an_empty_or_missing_manifest_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="the manifest is empty"):
        manifest.read_manifest(_write(tmp_path, "", "  "))
    with pytest.raises(FileNotFoundError, match="no such manifest"):
        manifest.read_manifest(str(tmp_path / "none.jsonl"))
    with pytest.raises(FileNotFoundError, match="no such manifest"):
        manifest.read_manifest(str(tmp_path))


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(ValueError, match="not a UTF-8 text"):
        manifest.read_manifest(str(path))
