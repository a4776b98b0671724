"""Files of ours that others have written or changed: one clear line names the field."""

import dataclasses
import json
import time

import corpus
import pytest

from avl_tf import records, runs
from avl_tf.audio import AudioConfig
from avl_tf.evaluation import rankings
from avl_tf.model import ModelConfig
from avl_tf.records import FeatureSpec, RecordsSpec
from avl_tf.training.history import History
from data_prep import jobs, shards
from data_prep.builder import decisions

DELETE = object()


def _changed(value, path, new):
    """A copy of JSON with another value at a path of names and indices."""
    value = json.loads(json.dumps(value))
    at = value
    *parents, last = path
    for name in parents:
        at = at[name]
    if new is DELETE:
        del at[last]
    else:
        at[last] = new
    return value


NAN, HUGE = float("nan"), 10**9
SPEC_FAULTS = [
    (("features_2d", "dim"), True, "'features_2d.dim' must be a whole number"),
    (("features_2d", "dim"), 0, "'features_2d.dim' must be"),
    (("features_2d", "dim"), 1e3, "'features_2d.dim' must be"),
    (("features_2d", "dim"), 10**12, "'features_2d.dim' must be"),
    (("features_2d", "rate_hz"), 0, "'features_2d.rate_hz' is 0"),
    (("features_2d", "rate_hz"), -1.5, "'features_2d.rate_hz' must be"),
    (("features_2d", "rate_hz"), NAN, "'features_2d.rate_hz'"),
    (("features_2d", "backbone"), None, "'features_2d.backbone' must be a text"),
    (("features_2d", "late"), 1, "unknown field 'features_2d.late'"),
    (("features_2d",), [], "'features_2d' must be an object"),
    (("features_3d",), False, "'features_3d' must be an object"),
    (("features_3d",), DELETE, "'features_3d' is missing"),
    (("audio", "n_mels"), HUGE, "'audio.n_mels' must be .*got 1000000000"),
    (("audio", "n_mels"), True, "'audio.n_mels' must be"),
    (("audio", "sample_rate"), 0, "'audio.sample_rate' must be"),
    (("audio", "window_length"), HUGE, "'audio.window_length' must be"),
    (("audio", "hop_length"), -160, "'audio.hop_length' must be"),
    (("audio", "power_floor"), NAN, "'audio.power_floor'"),
    (("audio", "power_floor"), 0, "'audio.power_floor' must be"),
    (("audio", "dynamic_range_db"), -80, "'audio.dynamic_range_db' must be"),
    (("audio", "dynamic_range_db"), "80", "'audio.dynamic_range_db' must be"),
    (("audio", "fmin_hz"), 9000.0, "'fmin_hz' is 9000.0, 'fmax_hz' 8000.0"),
    (("audio", "preemphasis"), 1e30, "'audio.preemphasis' must be"),
    (("log_mel_reference",), "loudest", "'log_mel_reference' must be one of"),
    (("languages",), "sw", "'languages' must be a list"),
    (("languages",), [1], r"'languages\[0\]' must be a text"),
    (("synthetic",), "no", "'synthetic' must be true or false"),
    (("images",), 1, "'images' must be true or false"),
    (("storage",), ["float16"], "unknown storage"),
    (("format",), True, "'format' must be a whole number"),
    (("format",), "3", "its format is '3'"),
    (("sotrage",), "int8", "unknown field 'sotrage'"),
    (("shards",), [], "'shards' must be an object"),
    (("shards", "../x-00000-of-00001.tfrecord"), {}, "a name' must be SPLIT-00000-of"),
    (("shards", 0, "n_records"), -1, "n_records' must be"),
    (("shards", 0, "n_records"), 10**15, "has 1e.15 records and .* bytes"),
    (("shards", 0, "n_clips"), 10**15, "1e.15 clips in"),
    (("shards", 0, "n_clips"), 0, "and 0 clips in"),
    (("shards", 0, "n_bytes"), "many", "n_bytes' must be"),
    (("shards", 0, "sha256"), "x", "sha256' must be 64 digits"),
]


@pytest.mark.parametrize(("path", "new", "message"), SPEC_FAULTS)
def test_an_odd_spec_is_an_error_that_names_the_field(tmp_path, path, new, message):
    corpus.make_set(str(tmp_path))
    spec = tmp_path / "spec.json"
    value = json.loads(spec.read_text())
    if path[1:2] == (0,):
        path = ("shards", sorted(value["shards"])[0], *path[2:])
    spec.write_text(json.dumps(_changed(value, path, new)))
    start = time.monotonic()
    with pytest.raises(ValueError, match=message) as error:
        records.open_records(str(tmp_path))
    assert str(error.value).startswith(str(spec))
    assert time.monotonic() - start < 5


def test_features_pooled_by_clip_have_no_rate(tmp_path):
    path = corpus.make_set(str(tmp_path))
    value = json.loads((tmp_path / "spec.json").read_text())
    value["features_2d"]["rate_hz"], value["log_mel_reference"] = 0.0, "clip"
    (tmp_path / "spec.json").write_text(json.dumps(value), encoding="utf-8-sig")
    assert records.open_records(path).spec.features_2d.rate_hz == 0


def test_constants_are_bounded_in_python_too():
    for change in ({"n_mels": HUGE}, {"fmin_hz": NAN}, {"hop_length": True}):
        with pytest.raises(ValueError, match=f"audio: '{next(iter(change))}' must be"):
            AudioConfig(**change)
    with pytest.raises(ValueError, match="'dim' must be a whole number"):
        FeatureSpec("x", 10**9, 1.0)


INFO = runs.RunInfo(
    model=ModelConfig(visual_dims=(12,)),
    features_2d=FeatureSpec("x", 12, 1.0),
    features_3d=None,
    log_mel_reference="recording",
    records="records/train",
    records_fingerprint="0f",
    languages=("sw",),
    parent=None,
    synthetic=False,
    evaluation_fingerprints={"val": "0f"},
    weights=runs.Weights("last", 4, 2, 2),
)


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("model", "embedding_dim"), 10**12, "'model.embedding_dim' must be a whole"),
        (("model", "embedding_dim"), True, "'model.embedding_dim' must be"),
        (("model", "blocks_per_stage"), HUGE, "'model.blocks_per_stage' must be"),
        (("model", "audio_widths"), [64, "64"], r"'model.audio_widths\[1\]' must be"),
        (("model", "audio_head"), "best", "'model.audio_head' must be one of"),
        (("model", "mask_padding_in_training"), "no", "must be true or false"),
        (("model", "visual_scale"), NAN, "visual_scale"),
        (("model", "pad_db"), "0", "'model.pad_db' must be a number"),
        (("model", "visual_dims"), [HUGE], r"'model.visual_dims\[0\]' must be"),
        (("model", "visual_dims"), DELETE, "'model.visual_dims' is missing"),
        (("model", "audio", "n_mels"), HUGE, "'model.audio.n_mels' must be"),
        (("model", "depth"), 3, "unknown field 'model.depth'"),
        (("model",), [], "'model' must be an object"),
        (("features_2d", "dim"), -1, "'features_2d.dim' must be"),
        (("log_mel_reference",), "stored", "'log_mel_reference' must be one of"),
        (("languages",), "sw", "'languages' must be a list"),
        (("synthetic",), "no", "'synthetic' must be true or false"),
        (("parent",), ["x"], "'parent' must be a text"),
        (("evaluation_fingerprints",), {"val": 1}, "'evaluation_fingerprints.val'"),
        (("weights",), 1, "'weights' must be an object"),
        (("weights", "kind"), "newest", "'weights.kind' must be one of"),
        (("weights", "step"), -1, "'weights.step' must be"),
        (("weights", "epoch"), "1", "'weights.epoch' must be"),
        (("format",), -1, "'format' must be"),
        (("format",), "2", "'format' must be"),
        (("format",), 99, "its format is 99"),
        (("records",), DELETE, "'records' is missing"),
        (("record",), 1, "unknown field 'record'"),
    ],
)
def test_an_odd_run_json_is_an_error_that_names_the_field(tmp_path, path, new, message):
    runs.write_info(str(tmp_path), INFO)
    assert runs.read_info(str(tmp_path)) == INFO
    file = tmp_path / "run.json"
    file.write_text(json.dumps(_changed(json.loads(file.read_text()), path, new)))
    with pytest.raises(ValueError, match=message) as error:
        runs.read_info(str(tmp_path))
    assert str(error.value).startswith(str(file))


def test_a_run_json_that_is_no_object_is_told(tmp_path):
    for text in ("[]", "3", "null", '{"format": 2, "format": 2}', "[" * 100_000):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ValueError, match=r"run\.json: "):
            runs.read_info(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("settings",), [], "'settings' must be an object"),
        (("dealing",), DELETE, "'dealing' is missing"),
        (("content",), 7, "'content' must be a text"),
        (("about", "features_2d"), {"dim": 3}, "'about.features_2d.backbone' is mis"),
        (("about", "features_2d", "dim"), True, "'about.features_2d.dim' must be"),
        (("about",), None, "'about' must be an object"),
        (("other",), 1, "unknown field 'other'"),
    ],
)
def test_an_odd_job_json_is_an_error_that_names_the_field(tmp_path, path, new, message):
    from avl_tf.extraction import FEATURES_CHECK

    about = {"features_2d": dataclasses.asdict(INFO.features_2d), "features_3d": None}
    job = jobs.Job(AudioConfig(), "0f", {"seed": 0}, lambda: "")

    def claim():
        return jobs.claim(str(tmp_path), job, lambda: about, FEATURES_CHECK)

    assert claim() == claim() == about
    file = tmp_path / "progress" / "job.json"
    file.write_text(json.dumps(_changed(json.loads(file.read_text()), path, new)))
    with pytest.raises(ValueError, match=f"not the note of a job .*{message}"):
        claim()


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("spec", "n_records"), -1, "'spec.n_records' must be"),
        (("spec", "n_clips"), 0.5, "'spec.n_clips' must be"),
        (("spec", "sha256"), None, "'spec.sha256' must be"),
        (("failures",), {}, "'failures' must be a list"),
        (("failures", 0, "reason"), 7, r"'failures\[0\].reason' must be a text"),
        (("name",), DELETE, "'name' is missing"),
    ],
)
def test_an_odd_note_of_a_shard_is_told(tmp_path, path, new, message):
    failed = {"id": "a", "media": "\udcff.mp4", "reason": "no sound"}
    shards.write(str(tmp_path), "all-0", [(b"x" * 8, 1), failed])
    found = shards.read_result(str(tmp_path), "all-0")
    assert found is not None and found.failures[0]["media"] == "\ufffd.mp4"
    file = tmp_path / "progress" / "all-0.json"
    file.write_text(json.dumps(_changed(json.loads(file.read_text()), path, new)))
    with pytest.raises(ValueError, match=f"{message}.*Delete it"):
        shards.read_result(str(tmp_path), "all-0")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"history": [{"step": "0", "sets": {}}]}, r"'history\[0\].step' must be"),
        ({"history": [{"step": True, "sets": {}}]}, r"'history\[0\].step' must be"),
        ({"history": [{"step": 0, "sets": {"val": 1}}]}, r"sets.val' must be an obj"),
        ({"history": {}}, "'history' must be a list"),
        ([], "must be an object"),
    ],
)
def test_an_odd_history_is_told(tmp_path, value, message):
    (tmp_path / "recall.json").write_text(json.dumps(value))
    history = History(str(tmp_path), "", {"val": ["a2v"]})
    with pytest.raises(ValueError, match=message):
        history.read(5)


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("sets", "val", "n_queries"), True, "'sets.val.n_queries' must be"),
        (("sets", "val", "clip_s"), -1, "'sets.val.clip_s' must be"),
        (("sets", "val", "clips", "a2v"), [1, 0], r"'a2v\[1\]' must be"),
        (("sets", "val", "clips", "a2v"), [1, 1e30], r"'a2v\[1\]' must be"),
        (("sets", "val", "clips", "a2v"), [1], "not as many ranks as clips"),
        (("sets", "val", "clips", "clip_id"), [1, 2], r"'clip_id\[0\]' must be a text"),
        (("sets", "val", "clips", "clip_id"), DELETE, "'clip_id' must be a list"),
        (("sets",), DELETE, "'sets' is missing"),
    ],
)
def test_odd_ranks_are_told(tmp_path, path, new, message):
    import numpy as np

    ranks = {"a2v": np.array([1, 2]), "v2a": np.array([2, 1])}
    path_of = str(tmp_path / "ranks.json")
    whole = rankings.RankedSet(("a", "b"), ranks, 2, 6.0)
    rankings.write(path_of, "m", {"val": whole})
    assert rankings.read(path_of)["val"].clip_ids == ("a", "b")
    value = json.loads((tmp_path / "ranks.json").read_text())
    (tmp_path / "ranks.json").write_text(json.dumps(_changed(value, path, new)))
    with pytest.raises(ValueError, match=message):
        rankings.read(path_of)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"clips": {"a": ["accepted"]}}', r'has \["accepted"\] for'),
        ('{"clips": {"a": "accepted", "a": "rejected"}}', "'a' stands twice"),
        ('{"clips": {"a\\ud800": "accepted"}}', "half a character"),
        ("[" * 100_000, "not a JSON file"),
    ],
)
def test_odd_decisions_are_told(tmp_path, text, message):
    path = tmp_path / "d.json"
    path.write_text(text.replace("{", f'{{"format": "{decisions.FORMAT}", ', 1))
    with pytest.raises(ValueError, match=message):
        decisions.read_decisions(str(path))


@pytest.mark.parametrize("storage", ["float16", "int8"])
@pytest.mark.parametrize(
    "changes",
    [
        {"id": "a\ud800"},
        {"language": "\0"},
        {"end_s": float("inf")},
        {"clips": (records.Clip(0.0, float("nan"), "x"),)},
        {"clips": (records.Clip(0.0, 1.0, "\udfff"),)},
    ],
)
def test_a_record_holds_no_odd_text_or_time(changes, storage):
    record = corpus.make_record("r0", **changes)
    with pytest.raises(ValueError, match=f"record .*'{next(iter(changes))}"):
        records.encode(record, storage)


def test_the_spec_that_is_written_is_read(tmp_path):
    spec = RecordsSpec(AudioConfig(), "clip", None, None, (), True, {}, images=True)
    assert RecordsSpec.from_json(spec.to_json(), "s") == spec
