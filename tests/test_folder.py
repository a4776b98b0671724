"""data_prep.folder on trees as users have them."""

import collections
import json
import os
import shutil

import made_media
import pytest
from programs import fails_in_one_line, run
from small_corpora import adapt, lines, report, video, wav


def _adapt(folder, manifest, *arguments, cwd=None):
    flags = (f"--videos={folder}", "--language=sw")
    return adapt("folder", manifest, *flags, *arguments, cwd=cwd)


def _ids(manifest):
    return [json.loads(line)["id"] for line in manifest.read_text().splitlines()]


@pytest.fixture
def tree(tmp_path):
    """Videos with odd names, things that are none, and defects."""
    folder = tmp_path / "my videos"
    video(folder / "b, c.mp4")
    video(folder / "UPPER.MP4")
    video(folder / "same.mp4", "zeros")
    video(folder / "same.webm")
    video(folder / "deep" / "er" / "same.mp4", "mute")
    made_media.make_media(
        folder / "deep" / "日本 ünï.mp4", map(made_media.numbered, range(12)), fps=10
    )
    wav(folder / "deep" / "sound.wav")
    (folder / "broken.mp4").write_bytes(b"nothing of a video" * 99)
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("no video")
    (folder / "deep" / "b, c.jpg").write_bytes(b"thumbnail")
    (folder / ".hidden.mp4").touch()
    video(folder / ".trash" / "old.mp4")
    (folder / "nothing here").mkdir()
    return folder


MEDIA = [
    "UPPER.MP4",
    "b, c.mp4",
    "broken.mp4",
    "deep/er/same.mp4",
    "deep/sound.wav",
    "deep/日本 ünï.mp4",
    "empty.mp4",
    "same.mp4",
    "same.webm",
]


def test_every_media_file_is_a_recording_and_nothing_else(tree, tmp_path):
    manifest = tmp_path / "elsewhere" / "sw.jsonl"
    done = _adapt(tree, manifest, "--nocheck_media")
    assert done.returncode == 0, done.stderr
    found = lines(manifest)
    assert list(found) == MEDIA
    assert {line["language"] for line in found.values()} == {"sw"}
    assert {line["split"] for line in found.values()} == {"all"}
    assert report(manifest) == {
        "dead": ["empty.mp4"],
        "duplicates": ["b, c.mp4"],
        "hidden": [".hidden.mp4", ".trash"],
        "other": ["deep/b, c.jpg", "notes.txt"],
    }
    # What is left out or odd is told by name, on the terminal too.
    for text in ("2 hidden (.hidden.mp4, .trash", "notes.txt", "kept: 1 dead (empty"):
        assert text in done.stdout
    assert "9 recordings in all" in done.stdout


def test_the_same_files_give_the_same_manifest(tree, tmp_path):
    inside = tree / "manifest.jsonl"
    _adapt(tree, inside)
    first = inside.read_bytes()
    # The second run finds the first one's manifest in the folder.
    done = _adapt(os.path.relpath(tree, tmp_path), inside, cwd=tmp_path)
    assert inside.read_bytes() == first, done.stderr
    assert json.loads(first.splitlines()[0])["media"] == "UPPER.MP4"
    assert "other" in report(inside) and "manifest.jsonl" not in report(inside)["other"]

    relative = tmp_path / "here.jsonl"
    _adapt("my videos/", "here.jsonl", cwd=tmp_path)
    assert list(lines(relative)) == MEDIA

    # The tree and a manifest in it can be moved.
    shutil.move(tree, tmp_path / "moved")
    assert list(lines(tmp_path / "moved" / "manifest.jsonl")) == MEDIA


def test_links_are_followed_once(tmp_path):
    folder = tmp_path / "videos"
    video(folder / "real" / "a.mp4")
    video(tmp_path / "outside" / "b.webm")
    (folder / "again").symlink_to(folder / "real")
    (folder / "round").symlink_to(folder)
    (folder / "out").symlink_to(tmp_path / "outside")
    (folder / "a link.mp4").symlink_to(folder / "real" / "a.mp4")
    (folder / "lost.mp4").symlink_to(tmp_path / "nowhere.mp4")
    manifest = tmp_path / "m.jsonl"
    done = _adapt(folder, manifest)
    assert done.returncode == 0, done.stderr
    assert _ids(manifest) == ["a link.mp4", "lost.mp4", "out/b.webm", "real/a.mp4"]
    assert report(manifest) == {"duplicates": ["a link.mp4"], "missing": ["lost.mp4"]}
    done = _adapt(folder, manifest, "--drop=duplicates,missing")
    assert "dropped: 1 duplicates" in done.stdout
    assert list(lines(manifest)) == ["out/b.webm", "real/a.mp4"]


def test_copies_stay_in_one_split(tmp_path):
    for index in range(8):
        video(tmp_path / "videos" / f"{index}.mp4")
        video(tmp_path / "videos" / f"{index}.webm")
    manifest = tmp_path / "m.jsonl"
    _adapt(tmp_path / "videos", manifest, "--splits=train=0.5,eval=0.5")
    found = lines(manifest)
    assert len({line["recording_id"] for line in found.values()}) == 2
    assert found["0.mp4"]["split"] != found["0.webm"]["split"]
    for line in found.values():
        assert line["split"] == found[line["recording_id"]]["split"]


def test_splits_are_dealt_by_the_seed(tmp_path):
    folder, manifest = tmp_path / "videos", tmp_path / "m.jsonl"
    folder.mkdir()
    for index in range(20):
        (folder / f"{index}.mp4").write_text(f"no matter what, {index}")
    splits = "--splits=train=0.8,val=0.1,eval=0.1"
    _adapt(folder, manifest, splits)
    first = manifest.read_bytes()
    counts = collections.Counter(line["split"] for line in lines(manifest).values())
    assert set(counts) == {"train", "val", "eval"} and counts["train"] > 10
    _adapt(folder, manifest, splits, "--seed=0")
    assert manifest.read_bytes() == first
    done = _adapt(folder, manifest, splits, "--seed=1")
    assert manifest.read_bytes() == first
    assert " kept split (" in done.stdout and "--nokeep_splits deals" in done.stdout
    _adapt(folder, manifest, splits, "--seed=1", "--nokeep_splits")
    assert manifest.read_bytes() != first
    manifest.write_text("no manifest\n")
    done = _adapt(folder, manifest, splits)
    fails_in_one_line(done, "m.jsonl, line 1", "--nokeep_splits")
    assert manifest.read_text() == "no manifest\n"
    _adapt(folder, manifest, splits, "--nokeep_splits")
    assert manifest.read_bytes() == first


@pytest.mark.parametrize("drop", ["", "duplicates"])
def test_a_folder_that_grows_keeps_its_splits(tmp_path, drop):
    folder, manifest = tmp_path / "videos", tmp_path / "m.jsonl"
    folder.mkdir()
    flags = ("--splits=train=0.6,eval=0.4", "--nocheck_media", f"--drop={drop}")
    for index in range(30):
        (folder / f"{index}.mp4").write_text(f"no matter what, {index}")
    _adapt(folder, manifest, *flags)
    before = lines(manifest)
    (folder / "100.mp4").write_text("another")
    (folder / "deep").mkdir()
    (folder / "deep" / "101.mp4").write_text("one more")
    for index in range(0, 30, 3):
        shutil.copy(folder / f"{index}.mp4", folder / f"{index} (1).mp4")
    for index in range(1, 30, 7):
        (folder / f"{index}.mp4").unlink()
    anew = tmp_path / "anew.jsonl"
    for path in (manifest, anew):
        _adapt(folder, path, *flags)
        after = lines(path)
        for name, line in before.items():
            if name in after:
                assert after[name]["split"] == line["split"]
        for line in after.values():
            assert line["split"] == after.get(line["recording_id"], line)["split"]
    # A copy whose name comes first names no recording that had a name.
    assert all(
        lines(manifest)[name] == before[name] for name in before if name in after
    )


def test_files_that_cannot_be_used_fill_no_split(tmp_path):
    folder, manifest = tmp_path / "videos", tmp_path / "m.jsonl"
    folder.mkdir()
    for index in range(4):
        made_media.make_media(
            folder / f"{index}.mp4",
            map(made_media.numbered, range(10)),
            made_media.sine(1, hz=300 + 50 * index),
            fps=10,
        )
    for index in range(8):
        (folder / f"dead {index}.mp4").write_text(f"no video, {index}")
    for seed in range(4):
        splits = "--splits=train=0.5,eval=0.5"
        done = _adapt(folder, manifest, splits, f"--seed={seed}", "--nokeep_splits")
        found = lines(manifest)
        assert len(found) == 12
        assert {found[f"{index}.mp4"]["split"] for index in range(4)} == {
            "train",
            "eval",
        }
        dead = collections.Counter(
            line["split"] for name, line in found.items() if name.startswith("dead")
        )
        for split, n_dead in dead.items():
            assert f" in {split} ({n_dead} cannot be used)" in done.stdout
        assert "empty split" not in done.stdout
    for index in range(1, 4):
        (folder / f"{index}.mp4").unlink()
    done = _adapt(folder, manifest, splits, "--nokeep_splits")
    (name,) = {"train", "eval"} - {lines(manifest)["0.mp4"]["split"]}
    told = f"1 empty split ({name}: nothing in it can be used, as 1 recording can be in"
    assert told in done.stdout


def test_long_videos_are_steered_to_the_builder(tmp_path):
    folder, manifest = tmp_path / "my videos", tmp_path / "m.jsonl"
    video(folder / "short.mp4")
    assert "data_prep.build" not in _adapt(folder, manifest).stdout
    made_media.make_media(
        folder / "long.mp4", [made_media.numbered(0)] * 16, made_media.sine(16), fps=1
    )
    done = _adapt(folder, manifest)
    assert "1 of 2 videos is longer than 15 s" in done.stdout
    command = f"data_prep.build '--videos={folder}' --language=sw --out_dir="
    assert command in done.stdout


def test_checked_media_are_told_and_dropped(tree, tmp_path):
    manifest = tmp_path / "m.jsonl"
    done = _adapt(tree, manifest, "--drop=dead,silent")
    assert done.returncode == 0, done.stderr
    found = report(manifest)
    assert found["dead"] == ["empty.mp4", "broken.mp4", "deep/sound.wav"]
    assert sorted(found["silent"]) == [
        "deep/er/same.mp4",
        "deep/日本 ünï.mp4",
        "same.mp4",
    ]
    assert list(lines(manifest)) == ["UPPER.MP4", "b, c.mp4", "same.webm"]
    assert lines(manifest)["UPPER.MP4"]["duration_s"] == pytest.approx(1, abs=0.1)


def test_a_name_that_is_no_text_is_told(tmp_path):
    folder = tmp_path / "videos"
    video(folder / "a.mp4")
    shutil.copy(folder / "a.mp4", os.fsencode(folder) + b"/b\xff.mp4")
    manifest = tmp_path / "m.jsonl"
    done = _adapt(folder, manifest)
    assert done.returncode == 0, done.stderr
    assert list(lines(manifest)) == ["a.mp4"]
    assert report(manifest) == {"unreadable": ["b\\udcff.mp4"]}


def test_mistakes_end_in_one_line(tree, tmp_path):
    manifest, empty = tmp_path / "m.jsonl", tmp_path / "empty"
    empty.mkdir()
    fails_in_one_line(_adapt(empty, manifest), "empty: no media file", "it is empty")
    (empty / "a.txt").touch()
    fails_in_one_line(_adapt(empty, manifest), "only 1 other, such as a.txt")
    fails_in_one_line(_adapt(tmp_path / "none", manifest), "none: no such folder")
    fails_in_one_line(_adapt(tree / "notes.txt", manifest), "no such folder")
    fails_in_one_line(_adapt(tree, tmp_path), "is a folder: name the file")
    fails_in_one_line(_adapt(tree, manifest, "--drop=ded"), "--drop=ded: expected all")
    fails_in_one_line(_adapt(tree, manifest, "--splits=train"), "--splits: expected")
    fails_in_one_line(_adapt(tree, manifest, "--splits=train=0.9,val=0.3"), "sum to 1")
    fails_in_one_line(
        _adapt(tree, manifest, "--splits=train=1", "--split=x"), "either --split or"
    )
    fails_in_one_line(_adapt(tree, manifest, "--split=a/b"), "names files")
    fails_in_one_line(
        _adapt(tree / "deep" / "er", manifest, "--splits=train=0.5,val=0.5"),
        "1 recording cannot fill 2 splits",
    )
    done = run("data_prep.folder", f"--videos={tree}", f"--manifest={manifest}")
    fails_in_one_line(done, "--language")
    assert not manifest.exists()


@pytest.mark.slow
def test_extract_takes_what_is_good_and_tells_of_the_rest(tree, tmp_path):
    manifest = tmp_path / "m.jsonl"
    _adapt(tree, manifest)
    done = run(
        "data_prep.extract",
        f"--manifest={manifest}",
        f"--out_dir={tmp_path}/records",
        "--backbone_2d=efficientnet_lite0",
        "--workers=1",
    )
    assert done.returncode == 1 and "6 of 9 recordings failed" in done.stderr
    failures = [
        json.loads(line)
        for line in (tmp_path / "records" / "failures.jsonl").read_text().splitlines()
    ]
    assert {failure["id"] for failure in failures} == {
        "broken.mp4",
        "deep/er/same.mp4",
        "deep/sound.wav",
        "deep/日本 ünï.mp4",
        "empty.mp4",
        "same.mp4",
    }
    for failure in failures:
        assert failure["media"].endswith(failure["id"]) and failure["reason"]
