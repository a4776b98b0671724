"""HowTo100M's tree, as data_prep.import_release makes shards of it."""

import json
import pickle

import numpy as np
import pytest
from programs import fails_in_one_line, run

from avl_tf import dataset, records
from avl_tf.records import FeatureSpec
from avl_tf.torch_weights import UnsafePickleError
from data_prep.captions import find_captions, read_captions
from data_prep.howto100m import Tree

VIDEOS = ["food/video_a/v0", "None/v1", "food/video_b/v2", "home/None/v3", "x/y/-v4"]
IDS = ["v0", "v1", "v2", "v3", "-v4"]
D = 8
CAPTIONS = {
    "v0": {
        # The third has no words, the fourth ends behind the sound, the others lie
        # outside of it or are no span.
        "start": [0.0, 1.25, 2.0, 3.5, 5.5, -3.0, 2.0, float("nan")],
        "end": [1.5, 2.25, 3.0, 99.0, 8.0, -1.0, 2.0, 3.0],
        "text": ["chop", "the, onion", float("nan"), "fry", "bye", "a", "b", "c"],
    },
    "v2": {"start": np.array([1.0]), "end": np.array([3.0]), "text": ["mix"]},
    "unused": {"start": [], "end": [], "text": []},
}


def _arrays(index, n_seconds=5):
    random = np.random.default_rng(index)
    return {
        "2d": random.random((n_seconds, D)).astype(np.float16),
        "3d": random.random((int(1.5 * n_seconds), D)).astype(np.float16),
        "spec": random.uniform(-80, 0, (40, 100 * n_seconds + 1)).astype(np.float16),
    }


def _write_video(root, path, arrays):
    video = path.replace("None/", "")
    folder = root / video
    folder.mkdir(parents=True, exist_ok=True)
    name = video.split("/")[-1]
    np.savez(folder / f"{name}_2d.npz", features=arrays["2d"])
    np.savez_compressed(folder / f"{name}_3d.npz", features=arrays["3d"])
    np.savez(folder / f"{name}_spec.npz", arrays["spec"])


@pytest.fixture
def tree(tmp_path):
    """root/, videos.csv, caption.pickle and captions/ in a folder."""
    for index, path in enumerate(VIDEOS):
        _write_video(tmp_path / "root", path, _arrays(index))
    (tmp_path / "videos.csv").write_text("\n".join(["path", *VIDEOS]) + "\n")
    (tmp_path / "caption.pickle").write_bytes(pickle.dumps(CAPTIONS))
    (tmp_path / "captions").mkdir()
    for video, columns in CAPTIONS.items():
        rows = zip(*(columns[name] for name in ("start", "end", "text")), strict=True)
        lines = [
            f'{i},{start},{end},"{text if isinstance(text, str) else ""}"\n'
            for i, (start, end, text) in enumerate(rows)
        ]
        path = tmp_path / "captions" / f"{video}.csv"
        path.write_text(",start,end,text\n" + "".join(lines))
    return tmp_path


def _open(folder, captions=None, **changes):
    arguments = {"csv_path": folder / "videos.csv", "root": folder / "root", **changes}
    return Tree(**arguments, language="en", split="train", captions=captions)


def _run(folder, *arguments):
    return run(
        "data_prep.import_release",
        f"--howto100m_csv={folder}/videos.csv",
        f"--root={folder}/root",
        f"--out_dir={folder}/r",
        "--recordings_per_shard=2",
        *arguments,
    )


def _unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.slow
def test_the_program_is_resumable_and_its_clips_are_the_authors(tree):
    # Only the authors' "path" column counts.
    lines = ["rank,path", *(f"{i},{path}" for i, path in enumerate(VIDEOS))]
    (tree / "videos.csv").write_text("\n".join(lines))
    arguments = [f"--captions={tree}/caption.pickle", "--split=train"]
    done = _run(tree, *arguments)
    assert done.returncode == 0, done.stderr
    assert "3 videos without captions" in done.stdout
    assert "5 recordings in 3 shards" in done.stdout

    opened = records.open_records(f"{tree}/r/train")
    assert opened.spec.log_mel_reference == "recording"
    assert opened.spec.features_2d == FeatureSpec("resnet152", D, 1.0)
    assert opened.spec.features_3d == FeatureSpec("resnext101_3d", D, 1.5)
    batches = dataset.evaluation_batches(opened, 10.0, 32)
    (batch,) = (dict(b) for b in batches)
    rows = {name.decode(): i for i, name in enumerate(batch["clip_id"].numpy())}
    assert len(rows) == opened.n_clips == 8
    row, arrays = rows["v2@1.00-3.00"], _arrays(2)
    # librosa.time_to_frames(1, n_fft=400); audio as the authors, but for padding.
    log_mel = arrays["spec"].T[98 : 98 + 201]
    assert np.array_equal(batch["log_mel"][row, :201], log_mel)
    assert batch["n_frames"][row] == 201
    pooled = [arrays["2d"][1:4].max(0), arrays["3d"][1:5].max(0)]
    expected = np.concatenate([_unit(np.float32(part)) for part in pooled])
    assert np.allclose(batch["visual"][row], expected, atol=1e-3)
    assert batch["n_frames"][rows["v1@0.00-5.01"]] == 501

    # What has a note is not made again; what has none is, and is the same.
    names = sorted(p.name for p in (tree / "r").glob("*.tfrecord"))
    before = {n: (tree / "r" / n).read_bytes() for n in names}
    stamps = {n: (tree / "r" / n).stat().st_mtime_ns for n in names}
    (tree / "r" / "progress" / f"{names[1]}.json").unlink()
    (tree / "r" / "spec.json").unlink()
    done = _run(tree, *arguments)
    assert done.returncode == 0 and "5 recordings in 3 shards" in done.stdout
    assert {n: (tree / "r" / n).read_bytes() for n in names} == before
    changed = [n for n in names if (tree / "r" / n).stat().st_mtime_ns != stamps[n]]
    assert changed == [names[1]]
    assert records.open_records(f"{tree}/r").n_records == 5

    # Without captions it is another job.
    fails_in_one_line(_run(tree, "--split=train"), "begun with other input")


@pytest.mark.slow
def test_missing_and_broken_videos_are_listed_and_can_be_retried(tree):
    root = tree / "root"
    lacking = root / "v1" / "v1_spec.npz"
    content = lacking.read_bytes()
    lacking.unlink()
    cut = root / "home" / "v3" / "v3_3d.npz"
    cut.write_bytes(cut.read_bytes()[:-40])
    done = _run(tree)
    fails_in_one_line(done, "2 of 5 recordings failed")
    lines = (tree / "r" / "failures.jsonl").read_text().splitlines()
    reasons = {f["id"]: f["reason"] for f in map(json.loads, lines)}
    assert reasons["v1"] == f"{lacking}: no such file."
    assert str(cut) in reasons["v3"] and "damaged" in reasons["v3"]
    assert records.open_records(f"{tree}/r/all").n_records == 3

    lacking.write_bytes(content)
    assert "2 of 5 recordings failed" in _run(tree).stderr
    assert "1 of 5 recordings failed" in _run(tree, "--retry_failed").stderr
    assert records.open_records(f"{tree}/r/all").n_records == 4


def test_paths_without_none_lead_to_the_arrays_of_a_video(tree):
    videos = _open(tree)
    assert videos.ids == IDS and videos.notes == []
    for index, video in enumerate(IDS):
        record, arrays = videos.take(index), _arrays(index)
        assert record.id == record.recording_id == video
        assert np.array_equal(record.log_mel, arrays["spec"].T)
        assert np.array_equal(record.features_2d, arrays["2d"])
        assert np.array_equal(record.features_3d, arrays["3d"])
        assert (record.start_s, record.end_s, record.clips) == (0.0, 5.01, ())
    assert videos.take(3).labels == {"path": "home/v3"}


@pytest.mark.parametrize("kind", ["pickle", "folder"])
def test_captions_are_the_clips_of_a_video(tree, kind):
    captions = (
        read_captions(str(tree / "caption.pickle"))
        if kind == "pickle"
        else find_captions(str(tree / "captions"))
    )
    videos = _open(tree, captions)
    found = [(c.start_s, c.end_s, c.label) for c in videos.take(0).clips]
    assert found == [
        (0.0, 1.5, "chop"),
        (1.25, 2.25, "the, onion"),
        (2.0, 3.0, ""),
        (3.5, 5.01, "fry"),
    ]
    assert [c.label for c in videos.take(2).clips] == ["mix"]
    assert videos.take(1).clips == ()
    assert videos.notes == ["3 videos without captions"]


def test_spectrograms_may_lie_in_a_tree_of_their_own(tree):
    for path in (tree / "root").rglob("*_spec.npz"):
        target = tree / "sound" / path.relative_to(tree / "root")
        target.parent.mkdir(parents=True)
        path.rename(target)
    videos = _open(tree, audio_root=str(tree / "sound"))
    assert np.array_equal(videos.take(2).log_mel, _arrays(2)["spec"].T)
    with pytest.raises(FileNotFoundError, match="none of the first 5 .*v0_spec.npz"):
        _open(tree)


@pytest.mark.parametrize(
    ("name", "arrays", "text"),
    [
        ("v1_2d.npz", {"features": np.zeros((5, D + 1))}, "are 9 wide, .*videos 8"),
        ("v1_2d.npz", {"arr_0": np.zeros((5, D))}, "features is not a file"),
        ("v1_2d.npz", {"features": np.array([[None]])}, "damaged.* allow_pickle"),
        ("v1_3d.npz", {"features": np.zeros(D)}, "expected a matrix"),
        ("v1_spec.npz", {"arr_0": np.zeros((501, 40))}, r"is \[501, 40\], .*\[40, T\]"),
    ],
)
def test_a_video_of_another_shape_fails_alone(tree, name, arrays, text):
    path = tree / "root" / "v1" / name
    np.savez(path, **arrays)
    videos = _open(tree)
    with pytest.raises(ValueError, match=f"{path}.*{text}"):
        videos.take(1)
    videos.take(2)


def test_captions_in_another_form_fail_with_their_video(tree):
    broken = {
        "v0": {"start": [0.0], "end": [1.0]},
        "v1": {"start": [0.0], "end": [1.0, 2.0], "text": ["a", "b"]},
        "v2": ["a"],
        "v3": {"start": [None], "end": [1.0], "text": ["a"]},
    }
    (tree / "caption.pickle").write_bytes(pickle.dumps(broken))
    videos = _open(tree, read_captions(str(tree / "caption.pickle")))
    for index in range(4):
        with pytest.raises(ValueError, match=f"captions of v{index}"):
            videos.take(index)
    videos.take(4)

    (tree / "captions" / "v0.csv").write_text("start,end,text\n1.0,2.0\n")
    (tree / "captions" / "v2.csv").write_text("start,end,text\none,two,three\n")
    videos = _open(tree, find_captions(str(tree / "captions")))
    with pytest.raises(ValueError, match="captions of v0.*row 1 has not 3 cells"):
        videos.take(0)
    with pytest.raises(ValueError, match="captions of v2.*'one'"):
        videos.take(2)


def test_captions_that_are_none_are_told(tree):
    (tree / "caption.pickle").write_bytes(pickle.dumps(["a"]))
    with pytest.raises(ValueError, match="caption.pickle: expected a dictionary"):
        read_captions(str(tree / "caption.pickle"))
    (tree / "caption.pickle").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(UnsafePickleError, match="system"):
        read_captions(str(tree / "caption.pickle"))
    (tree / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no VIDEO.csv"):
        find_captions(str(tree / "empty"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "expected the header path, got ."),
        ("food/video_a/v0\n", "expected the header path, got food/video_a/v0"),
        ("path\n", "0 videos"),
        ("path\na/v0\nb/v1\nc/v0\n", "row 3 has video 'v0' a second time"),
        ("path\na, b/v0\n", "row 1 has not 1 cells"),
        ("path\nno/v7\nno/v8\n", "none of the first 2 videos .*v7_2d.npz: no such"),
        ("path\n\x00\xff\n", "can.t decode byte 0xff"),
    ],
)
def test_a_wrong_list_of_videos_is_told(tree, content, text):
    (tree / "videos.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises((ValueError, FileNotFoundError), match=f"videos.csv.*{text}"):
        _open(tree)
