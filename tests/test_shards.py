"""What is told at the end of a folder of shards, and by whom."""

import json

import pytest

from avl_tf.audio import AudioConfig
from avl_tf.records import FeatureSpec, RecordsSpec
from data_prep import failures, shards

SPEC = RecordsSpec(
    AudioConfig(), "clip", FeatureSpec("x", 3, 0.0), None, ("en",), False, {}
)
FAILED = {"id": "ö", "media": "o.mp4", "reason": "no sound"}


def test_finish_returns_what_failed_and_ends_no_process(tmp_path, capsys):
    result = shards.write(str(tmp_path), "all-0", [(b"record", 2), FAILED])
    assert shards.read_result(str(tmp_path), "all-0") == result
    assert shards.finish(str(tmp_path), SPEC, [result]) == [FAILED]
    assert "1 recordings in 1 shards" in capsys.readouterr().out
    assert json.loads((tmp_path / "failures.jsonl").read_text()) == FAILED
    assert (tmp_path / "spec.json").exists()


def test_what_failed_ends_the_program():
    failures.require_none([], 7, "videos", "f")
    with pytest.raises(ValueError, match="1 of 7 videos failed.*first is ö: no sound"):
        failures.require_none([FAILED], 7, "videos", "f")
