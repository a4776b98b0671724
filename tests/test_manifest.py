import collections
import json
import os

import pytest

from avl_tf import manifest
from data_prep import splits


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
        ({"media": "a.mp4"}, "line 2: 'id' is missing"),
        ({"id": 7, "media": "a.mp4"}, "line 2: 'id' must be a text, got 7"),
        ({"id": "b"}, "line 2: 'media' is missing"),
        ({"id": "b", "media": ""}, "line 2: 'media' must be a text"),
        ({**GOOD, "id": "b", "meida": 1}, "line 2: unknown field 'meida'"),
        (GOOD, "line 2: id 'a' stands in line 1 already"),
        ({**GOOD, "id": "b", "start_s": 5, "end_s": 5}, "line 2: a span.*take it out"),
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


def test_a_broken_write_leaves_what_was_there(tmp_path):
    path = str(tmp_path / "manifest.jsonl")
    manifest.write_manifest(path, [GOOD])

    def lines():
        yield GOOD
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        manifest.write_manifest(path, lines())
    assert [found.id for found in manifest.read_manifest(path)] == ["a"]
    assert os.listdir(tmp_path) == ["manifest.jsonl"]


def test_media_can_be_opened_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _write(tmp_path, {"id": "a", "media": "videos/a.mp4"})
    (found,) = manifest.read_manifest("manifest.jsonl")
    assert found.media == str(tmp_path / "videos" / "a.mp4")


def test_paths_in_a_manifest_are_relative_below_it_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for media, written in (
        ("a.mp4", f"{tmp_path}/a.mp4"),
        ("in/a.mp4", "a.mp4"),
        ("in/x/../y/a.mp4", "y/a.mp4"),
        ("inside/a.mp4", f"{tmp_path}/inside/a.mp4"),
        ("/elsewhere/a.mp4", "/elsewhere/a.mp4"),
    ):
        assert manifest.path_in_manifest(media, "in/m.jsonl") == written
    assert manifest.path_in_manifest("/a.mp4", "/m.jsonl") == "a.mp4"


def _dealt(ids, shares, seed):
    ids = list(ids)
    return dict(zip(ids, splits.deal([[i] for i in ids], shares, seed), strict=True))


def test_recordings_are_dealt_by_seed_and_share():
    ids = [f"video {i}" for i in range(103)]
    shares = {"train": 0.8, "val": 0.1, "eval": 0.1}
    dealt = _dealt(ids, shares, 0)
    counts = collections.Counter(dealt.values())
    # Four standard deviations of a binomial distribution.
    assert counts["train"] == pytest.approx(82.4, abs=16.3)
    assert counts["val"] == pytest.approx(10.3, abs=12.2)
    # The order does not matter; the seed does.
    assert _dealt(ids[::-1], shares, 0) == dealt
    assert _dealt(ids, shares, 1) != dealt
    # One more recording moves no others.
    more = _dealt([*ids, "another"], shares, 0)
    assert {name: more[name] for name in ids} == dealt


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10])
def test_no_split_of_few_recordings_is_empty(n):
    for shares in ((0.8, 0.1, 0.1), (0.4, 0.3, 0.3), (0.98, 0.01, 0.01)):
        named = dict(zip("abc", shares, strict=True))
        dealt = _dealt(map(str, range(n)), named, 0)
        assert set(dealt.values()) == set("abc") and len(dealt) == n


def test_shares_that_cannot_be_dealt_are_errors():
    for shares in ({"a": 0.5}, {"a": 1.5, "b": -0.5}, {}, {"a": float("nan")}):
        with pytest.raises(ValueError, match="numbers above 0 that sum to 1"):
            _dealt(["x", "y"], shares, 0)
    with pytest.raises(ValueError, match="1 recording cannot fill 2 splits"):
        _dealt(["x"], {"a": 0.5, "b": 0.5}, 0)
