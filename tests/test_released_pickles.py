"""The authors' pickles, as data_prep.import_release makes shards of them."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch_files
from programs import fails_in_one_line, run

from avl_tf import dataset, records
from avl_tf.records import FeatureSpec
from avl_tf.torch_weights import UnsafePickleError, read_torch_file
from data_prep import shards
from data_prep.released_pickles import read_clips

TINY = pathlib.Path(__file__).parent / "data" / "tiny_youcook.pkl"
D = 8


def _log_mel(n_frames, seed=0):
    values = np.random.default_rng(seed).uniform(-80, 0, (40, n_frames))
    return values.astype(np.float32)


def _vectors(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


def _clip(index, n_frames=150, **fields):
    clip = {
        "id": f"c{index}",
        "audio": torch_files.tensor(_log_mel(n_frames, index)),
        "2d": _vectors(D, seed=10 + index),
        "3d": _vectors(D, seed=20 + index),
        **fields,
    }
    return {key: value for key, value in clip.items() if value is not None}


def _write(path, value):
    path.write_bytes(torch_files.pickle_bytes(value))
    return str(path)


def _records(clips, folder):
    """Writes clips as the program does, in the order of the list."""
    made = [clips.take(index) for index in range(len(clips.ids))]
    serialized = [records.encode(record) for record in made]
    name = records.shard_name("train", 0, 1)
    result = shards.write(str(folder), name, [(one, 1) for one in serialized])
    shards.finish(str(folder), clips.spec, [result])
    return records.open_records(str(folder))


def _batch(clips, folder):
    opened = _records(clips, folder)
    (batch,) = dataset.evaluation_batches(opened, 51.2, 100)
    return {key: value.numpy() for key, value in batch.items()}


def _unit(vector):
    return vector / np.linalg.norm(vector)


def _visual(pairs):
    """The authors' clip vectors: each stream normalised by itself, side by side."""
    return [
        np.concatenate([_unit(np.float32(part)) for part in parts]) for parts in pairs
    ]


def _assert_equals_the_authors(batch, clips):
    """The batch is what the authors' loader makes of clips (plain arrays)."""
    for row, clip in enumerate(clips):
        log_mel = np.zeros((5120, 40), np.float32)
        stored = clip["audio"].T.astype(np.float16)[:5120]
        log_mel[: len(stored)] = stored
        assert np.array_equal(batch["log_mel"][row], log_mel)
        assert batch["n_frames"][row] == len(stored)
    expected = _visual([(clip["2d"], clip["3d"]) for clip in clips])
    assert np.allclose(batch["visual"], expected, atol=1e-3)


@pytest.mark.slow
def test_the_program_makes_records_equal_to_the_authors_batches(tmp_path):
    arguments = [f"--pickle={TINY}", "--split=val", "--recordings_per_shard=4"]
    done = run("data_prep.import_release", *arguments, f"--out_dir={tmp_path}/r")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/r: 6 recordings in 2 shards, 0.3 MB\n"
    opened = records.open_records(f"{tmp_path}/r/val")
    assert opened.n_records == opened.n_clips == 6
    assert opened.spec.features_2d == FeatureSpec("resnet152", 40, 0.0)
    assert opened.spec.features_3d == FeatureSpec("resnext101_3d", 40, 0.0)
    assert opened.spec.log_mel_reference == "clip"
    assert opened.spec.languages == ("en",)

    (batch,) = dataset.evaluation_batches(opened, 51.2, 32)
    batch = {key: value.numpy() for key, value in batch.items()}
    clips = read_torch_file(TINY)
    order = [int(name.split(b"@")[0]) for name in batch["clip_id"]]
    assert sorted(order) == list(range(6))
    _assert_equals_the_authors(batch, [clips[i] for i in order])

    # The same command finds all done; another seed is another job.
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tfrecord")}
    done = run("data_prep.import_release", *arguments, f"--out_dir={tmp_path}/r")
    assert done.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tfrecord")} == before
    other = [*arguments, "--seed=1", f"--out_dir={tmp_path}/r"]
    fails_in_one_line(run("data_prep.import_release", *other), "other settings")


def test_fields_of_a_clip_are_kept(tmp_path):
    clips = read_clips(str(TINY), "en", "val")
    record = clips.take(1)
    assert (record.id, record.recording_id) == ("1", "vid0")
    assert (record.language, record.split) == ("en", "val")
    assert (record.start_s, record.end_s) == (5, 13)
    assert record.labels["task"] == 101
    assert record.labels["caption"] == "caption 1"
    # Its sound is longer than 8 s, and counts in full.
    assert [(clip.start_s, clip.end_s) for clip in record.clips] == [(0.0, 8.5)]
    spec = clips.spec
    assert records.decode(records.encode(record), spec).labels == record.labels


def test_crosstask_clips_are_evaluated_in_full_length(tmp_path):
    made = [
        _clip(0, 801, task=1, start=3, end=11, video_id="a"),
        # Longer and shorter than what start and end say, and longer than 51.2 s.
        _clip(1, 905, task=2, start=600.37, end=608.87, video_id="a"),
        _clip(2, 300, task=3, start=0, end=20, video_id="b"),
        _clip(3, 5301, task=3, start=1, end=54, video_id="b"),
        _clip(4, 1, task=3, start=7, end=7, video_id="b"),
    ]
    path = _write(tmp_path / "crosstask_clips_val.pkl", made)
    batch = _batch(read_clips(path, "en", "val"), tmp_path / "r")
    _assert_equals_the_authors(batch, read_torch_file(path))
    assert batch["n_frames"].tolist() == [801, 905, 300, 5120, 1]


def test_msrvtt_clips_have_pooled_vectors_under_other_names(tmp_path):
    made = []
    for i in range(2):
        pooled = {
            "2d_pooled": _vectors(D, seed=i),
            "3d_pooled": _vectors(D, seed=5 + i),
        }
        full = {"2d": _vectors(2, D, seed=8), "3d": _vectors(3, D, seed=9)}
        made.append(_clip(i, caption=["one", "two"], **{**full, **pooled}))
    path = _write(tmp_path / "msrvtt_train.pkl", made)
    clips = read_clips(path, "en", "train")
    batch = _batch(clips, tmp_path / "pooled")
    expected = _visual([(clip["2d_pooled"], clip["3d_pooled"]) for clip in made])
    assert np.allclose(batch["visual"], expected, atol=1e-3)

    clips = read_clips(path, "en", "train", full=True)
    assert (clips.spec.features_2d.rate_hz, clips.spec.features_3d.rate_hz) == (1, 1.5)
    batch = _batch(clips, tmp_path / "full")
    expected = _visual([(clip["2d"].max(0), clip["3d"].max(0)) for clip in made])
    assert np.allclose(batch["visual"], expected, atol=1e-3)


def test_missing_full_resolution_is_counted_and_the_pooled_vector_stands_in(tmp_path):
    full = {"2d_full": _vectors(2, D, seed=3), "3d_full": _vectors(3, D, seed=4)}
    made = [_clip(0, **full), _clip(1), _clip(2, **full), _clip(3, **{"3d_full": None})]
    path = _write(tmp_path / "youcook_val_audio.pkl", made)
    clips = read_clips(path, "en", "val", full=True)
    assert clips.notes == [
        "2 clips lack full-resolution features; their pooled vectors stand in"
    ]
    batch = _batch(clips, tmp_path / "r")
    whole = (full["2d_full"].max(0), full["3d_full"].max(0))
    pairs = [whole, *[(c["2d"], c["3d"]) for c in made]]
    expected = _visual([pairs[0], pairs[2], pairs[0], pairs[4]])
    assert np.allclose(batch["visual"], expected, atol=1e-3)
    assert read_clips(path, "en", "val").notes == []

    path = _write(tmp_path / "crosstask.pkl", [_clip(0)])
    with pytest.raises(ValueError, match="no clip has full-resolution features"):
        read_clips(path, "en", "val", full=True)


def test_a_users_own_list_needs_three_fields_only(tmp_path):
    made = [_clip(i, id=None, audio=_log_mel(90 + i, i)) for i in range(2)]
    # The extractor's output as it is, not pooled.
    made[1]["2d"] = _vectors(2, D).astype(np.float16)
    clips = read_clips(_write(tmp_path / "my.pkl", made), "sw", "all")
    assert clips.ids == ["clip-000000", "clip-000001"]
    record = clips.take(1)
    assert (record.start_s, record.end_s, record.clips) == (0.0, 0.91, ())
    assert record.recording_id == record.id and record.labels == {}
    assert np.array_equal(record.features_2d, made[1]["2d"].max(0, keepdims=True))


def test_a_pickle_without_3d_features_gives_one_stream(tmp_path):
    path = _write(tmp_path / "a.pkl", [_clip(i, **{"3d": None}) for i in range(2)])
    clips = read_clips(path, "en", "all", backbones=("clip_vit", "unused"))
    assert clips.spec.features_2d == FeatureSpec("clip_vit", D, 0.0)
    assert clips.spec.features_3d is None
    batch = _batch(clips, tmp_path / "r")
    expected = [_unit(_vectors(D, seed=10 + i)) for i in range(2)]
    assert np.allclose(batch["visual"], expected, atol=1e-3)


def test_fields_that_are_no_json_are_named(tmp_path):
    fields = {"text_sim": _vectors(3), "score": float("nan"), "caption": "kept"}
    clips = read_clips(_write(tmp_path / "a.pkl", [_clip(0, **fields)]), "en", "all")
    assert clips.notes == ["left out, as they are not JSON: score, text_sim"]
    assert clips.take(0).labels == {"id": "c0", "caption": "kept"}


def test_clips_that_share_an_id_get_their_place_behind_it(tmp_path):
    made = [_clip(i, id=name) for i, name in enumerate(["v", "w", "v"])]
    clips = read_clips(_write(tmp_path / "a.pkl", made), "en", "all")
    assert clips.ids == ["v-000000", "w", "v-000002"]
    assert clips.take(2).recording_id == "v"
    assert clips.notes == ["2 clips share an id; their place in the list is added"]

    path = _write(tmp_path / "b.pkl", [*made, made[0]])
    with pytest.raises(ValueError, match="clips 0 and 3 are the same, 'v'"):
        read_clips(path, "en", "all")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "0 clips"),
        ({"DAVEnet.conv1.weight": 1}, "another corpus.* got a dict with DAVEnet"),
        ([[1], {}], "another corpus.* got a list of dict, list"),
        ([{"image": "x", "uttid": 3}], "another corpus.* dict with image, uttid"),
        ([_clip(0), {"id": "c1"}], "clip 1: audio is missing, expected .40, T."),
        ([_clip(0, audio=_log_mel(50).T)], r"clip 0: audio is float32 \[50, 40\]"),
        ([_clip(0), _clip(1, **{"2d": None})], "clip 1: no 2d features, only 3d"),
        ([_clip(0, **{"2d": "x.npy"})], "clip 0: 2d is a str, expected numbers"),
        ([_clip(0), _clip(1, **{"2d": _vectors(9)})], "clip 1: .*of 9 .*of 8 numbers"),
        ([_clip(0), _clip(1, **{"3d": None})], "clip 1: features_3d has no vectors"),
        ([_clip(0, **{"3d": None}), _clip(1)], "clip 1: features_3d has vectors"),
    ],
)
def test_another_corpus_is_an_error_that_says_what_it_is(tmp_path, value, text):
    path = _write(tmp_path / "a.pkl", value)
    with pytest.raises(ValueError, match=f"{path}.*{text}"):
        read_clips(path, "en", "all")


def test_an_unsafe_pickle_is_not_run(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(UnsafePickleError, match=r"system"):
        read_clips(str(path), "en", "all")


@pytest.mark.slow
def test_broken_clips_are_listed_and_the_others_land(tmp_path):
    bad_audio, bad_features = _log_mel(30), _vectors(D)
    bad_audio[3, 7], bad_features[2] = np.nan, np.inf
    made = [
        _clip(0),
        _clip(1, audio=bad_audio),
        _clip(2, **{"2d": bad_features}),
        _clip(3, audio=_log_mel(0)),
        _clip(4, **{"2d": np.float32([1e6] * D)}),
    ]
    path = _write(tmp_path / "msrvtt_jsfusion_test.pkl", made)
    arguments = [f"--pickle={path}", f"--out_dir={tmp_path}/r", "--language=sw"]
    done = run("data_prep.import_release", *arguments)
    fails_in_one_line(done, "4 of 5 recordings failed")
    assert "Warning" not in done.stderr
    opened = records.open_records(f"{tmp_path}/r/test")
    assert opened.n_records == 1 and opened.spec.languages == ("sw",)
    lines = (tmp_path / "r" / "failures.jsonl").read_text().splitlines()
    failures = {f["id"]: f for f in map(json.loads, lines)}
    assert sorted(failures) == ["c1", "c2", "c3", "c4"]
    assert failures["c1"]["reason"] == "record c1: log_mel holds a NaN or an infinity."
    assert failures["c2"]["media"] == f"{path}, clip 2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        ([], ["either --pickle or --howto100m_csv"]),
        (["--pickle=no.pkl"], ["no.pkl", "no such file"]),
        ([f"--pickle={TINY}", "--root=x"], ["--root: only with --howto100m_csv"]),
        ([f"--pickle={TINY}", "--split=a/b"], ["--split: split 'a/b'", "letters"]),
        (["--howto100m_csv=no.csv"], ["--root is missing"]),
    ],
)
def test_a_slip_is_told_in_one_line(tmp_path, arguments, texts):
    out_dir = f"--out_dir={tmp_path}/r"
    fails_in_one_line(run("data_prep.import_release", *arguments, out_dir), *texts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_stays_within_the_pickle_and_a_shard(tmp_path):
    clips = [_clip(i, 2500) for i in range(700)]
    path = _write(tmp_path / "a.pkl", clips)
    size = pathlib.Path(path).stat().st_size
    assert size > 280e6
    program = f"""
import pathlib, re, sys
from data_prep import import_release, importing
def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", status.read_text())[1])
status = pathlib.Path("/proc/self/status")
before = kilobytes("VmRSS")
sys.argv = ["x", "--pickle={path}", "--out_dir={tmp_path}/r"]
try:
    import_release.cli()
finally:
    print((kilobytes("VmHWM") - before) * 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 1.3 * size
