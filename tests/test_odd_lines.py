"""One odd line of a manifest costs that line, whatever is odd about it."""

import itertools
import json

import pytest
from programs import fails_in_one_line, run
from small_corpora import video

from avl_tf import manifest

GOOD = {"id": "a", "media": "a.mp4"}
CLIP = {"start_s": 0, "end_s": 1}


def _line(**changes):
    return json.dumps({"id": "b", "media": "b.mp4", **changes})


ODD = [
    (_line(id="b\ud800"), r"'id' holds '\\ud800', half a character"),
    (_line(id="b\0"), "'id' holds a NUL"),
    (_line(id="b" * 5000), "'id' must be a text of 4096 characters at most, got 5000"),
    (_line(media="b\udfff.mp4"), "'media' holds"),
    (_line(media="b\0.mp4"), "'media' holds a NUL"),
    (_line(media=["b.mp4"]), "'media' must be a text"),
    (_line(image=7), "'image' must be a text, got 7"),
    (_line(language="sw\n"), "'language' must be a text without control"),
    (_line(language="\ud800"), "'language' holds"),
    (_line(language=None), "'language' must be a text, got None"),
    (_line(split=".."), r"split '\.\.' names files"),
    (_line(split="."), r"split '\.' names files"),
    (_line(split=".hidden"), "names files"),
    (_line(split="x" * 300), "100 at most"),
    (_line(split="a/b"), "split 'a/b' names files"),
    (_line(split="progress"), "not 'progress'"),
    (_line(split=True), "split True names files"),
    (_line(recording_id=""), "'recording_id' must be a text"),
    (_line(synthetic="no"), "'synthetic' must be true or false, got 'no'"),
    (_line(synthetic=0), "'synthetic' must be true or false, got 0"),
    (_line(start_s=True), "a span in seconds.*start_s=True"),
    (_line(end_s=float("inf")), "a span in seconds.*end_s=inf"),
    (_line(end_s=1e300), "a span in seconds"),
    ('{"id": "b", "media": "b.mp4", "start_s": 1e400}', "a span.*start_s=inf"),
    ('{"id": "b", "media": "b.mp4", "end_s": ' + "9" * 5000 + "}", "thousands of digi"),
    ('{"id": "b", "media": "b.mp4", "end_s": ' + "9" * 400 + "}", "a span in seconds"),
    (_line(duration_s="long"), "'duration_s' must be a number"),
    (_line(audio_track=10**30), "audio_track is 10{30}, expected a number"),
    (_line(audio_track="9" * 90), "audio_track is '9{79}, expected a number"),
    (_line(clips=[{**CLIP, "label": ["x"]}]), r"'clips\[0\].label' must be a text"),
    (_line(clips=[CLIP, {**CLIP, "label": "\ud800"}]), r"'clips\[1\].label' holds"),
    (_line(clips=[{**CLIP, "x": float("nan")}]), r"'clips\[0\].x' is nan"),
    (_line(clips=[{"start_s": False, "end_s": True}]), "a span in seconds"),
    (_line(labels={"x": float("-inf")}), "'labels.x' is -inf"),
    (_line(labels={"x": {"y": "\0"}}), "'labels.x.y' holds a NUL"),
    (_line(labels=json.loads("[" * 99 + "]" * 99)), "'labels' must be an object"),
    ('{"id": "b", "labels": ' + "[" * 100_000 + "]" * 100_000 + "}", "100 deep"),
    ('{"a":' * 100_000, "line 2: not JSON"),
    ('{"id": "b", "id": "c", "media": "b.mp4"}', "'id' stands twice"),
    ("NaN", "expected a JSON object"),
    ("{'id': 'b'}", "line 2: not JSON"),
]


@pytest.mark.parametrize(("line", "message"), ODD, ids=itertools.count())
def test_an_odd_line_costs_itself_and_names_its_field(tmp_path, line, message):
    path = tmp_path / "m.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n", encoding="utf-8")
    found, faults = manifest.sift_manifest(str(path))
    assert [one.id for one in found] == ["a"] and len(faults) == 1
    assert faults[0].reason.startswith(f"{path}, line 2: ")
    assert len(faults[0].reason) < len(str(path)) + 400
    json.dumps([faults[0].id, faults[0].media], ensure_ascii=False).encode()
    with pytest.raises(ValueError, match=message):
        manifest.read_manifest(str(path))


def test_bytes_that_are_no_text_cost_their_line(tmp_path):
    path = tmp_path / "m.jsonl"
    good = json.dumps(GOOD).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b'\r\n{"id": "\xe9"}\r\n')
    (found,), (fault,) = manifest.sift_manifest(str(path))
    assert (found.id, fault.id) == ("a", "line 2")
    assert "line 2: not JSON, as it is not a UTF-8 text" in fault.reason
    path.write_bytes(json.dumps(GOOD).encode("utf-16"))
    with pytest.raises(ValueError, match="line 1: not JSON, as it is not a UTF-8 text"):
        manifest.sift_manifest(str(path))


def test_what_a_writer_may_write_a_reader_takes(tmp_path):
    path = str(tmp_path / "m.jsonl")
    odd = {
        **GOOD,
        "id": "new\nline",
        "media": "a,b [1]*.mp4",
        "language": "日本語 (Kansai)",
        "split": "x" * 100,
        "start_s": 1e8 - 8,
        "end_s": 1e8,
        "clips": [{**CLIP, "label": "two\nlines", "n": 2**70}, {**CLIP, "label": None}],
        "labels": {"": [None, True, "\U0001f600"]},
        "duration_s": None,
    }
    manifest.write_manifest(path, [odd])
    (found,) = manifest.read_manifest(path)
    assert (found.id, found.clips[0]["label"]) == ("new\nline", "two\nlines")
    for line, _ in ODD[:2] + ODD[10:20]:
        wrong = json.loads(line)
        with pytest.raises(ValueError, match="m.jsonl, line 2: "):
            manifest.write_manifest(path, [GOOD, wrong])
    assert manifest.read_manifest(path) == [found]


def test_extract_goes_on_without_odd_lines_and_counts_them(tmp_path):
    video(tmp_path / "e\u0301.mp4")
    path = tmp_path / "m.jsonl"
    good = {"id": "a", "media": "\u00e9.mp4", "split": "train"}
    odd = [ODD[0][0], _line(synthetic="no"), "[" * 100_000]
    path.write_text("\n".join([json.dumps(good), *odd]))
    arguments = (f"--manifest={path}", f"--out_dir={tmp_path}/out", "--workers=1")
    extract = ("data_prep.extract", *arguments, "--backbone_2d=efficientnet_lite0")
    for _ in range(2):  # the second time there is nothing to do but to tell
        done = run(*extract)
        fails_in_one_line(done, "3 of 4 recordings failed", "first is line 2", "'id'")
        assert "1 of 1 recordings have files whose names" in done.stderr
        assert "3 of 4 lines cannot be used" in done.stderr
        failed = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
        failed = [json.loads(one) for one in failed]
        assert [one["id"] for one in failed] == ["line 2", "b", "line 4"]
        assert "'synthetic' must be true or false" in failed[1]["reason"]
        spec = json.loads((tmp_path / "out" / "spec.json").read_text())
        assert sum(one["n_records"] for one in spec["shards"].values()) == 1
    path.write_text("\n".join(odd))
    fails_in_one_line(run(*extract), "m.jsonl, line 1: 'id' holds")
