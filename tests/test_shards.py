"""What is told at the end of a folder of shards, and by whom."""

import json

import pytest

from avl_tf.audio import AudioConfig
from avl_tf.manifest import failures
from avl_tf.manifest.findings import Finding
from avl_tf.records import FeatureSpec, RecordsSpec
from data_prep import shards

SPEC = RecordsSpec(
    AudioConfig(), "clip", FeatureSpec("x", 3, 0.0), None, ("en",), False, {}
)
FAILED = {"id": "ö", "media": "o.mp4", "reason": "no sound"}


def test_finish_returns_what_failed_and_ends_no_process(tmp_path, capsys):
    result = shards.write(str(tmp_path), "all-0", [(b"record", 2), FAILED])
    assert shards.read_result(str(tmp_path), "all-0") == result
    assert shards.finish(str(tmp_path), SPEC, [result]) == [FAILED]
    assert "1 recording in 1 shard" in capsys.readouterr().out
    assert json.loads((tmp_path / "failures.jsonl").read_text()) == FAILED
    assert (tmp_path / "spec.json").exists()


def test_what_failed_ends_the_program():
    failures.require_none([], 7, "videos", "f")
    said = "1 of 7 videos failed.*first is ö .o.mp4.: no sound"
    with pytest.raises(ValueError, match=said):
        failures.require_none([FAILED], 7, "videos", "f")


def test_notes_are_kept_with_their_shard_listed_and_counted(tmp_path, capsys):
    notes = [Finding("odd", one, f"{one} is odd", "o.mp4") for one in "abcd"]
    outcomes = [notes[0], (b"one", 1), *notes[1:3], FAILED, notes[3]]
    result = shards.write(str(tmp_path), "all-0", outcomes)
    assert (result.spec.n_records, result.spec.n_clips) == (1, 1)
    assert shards.read_result(str(tmp_path), "all-0") == result
    shards.finish(str(tmp_path), SPEC, [result])
    told = "note: 4 odd (a: a is odd; b: b is odd; c: c is odd; ...)"
    assert told in capsys.readouterr().out
    listed = (tmp_path / "notes.jsonl").read_text().splitlines()
    assert [Finding(**json.loads(line)) for line in listed] == notes


def test_a_shard_of_a_version_without_notes_has_none(tmp_path):
    shards.write(str(tmp_path), "all-0", [(b"one", 1)])
    path = tmp_path / "progress" / "all-0.json"
    value = json.loads(path.read_text())
    del value["notes"]
    path.write_text(json.dumps(value))
    assert shards.read_result(str(tmp_path), "all-0").notes == ()
