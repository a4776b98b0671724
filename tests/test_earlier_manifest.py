"""What is kept of an earlier manifest: splits, also of files that were renamed."""

import json
import shutil

import pytest
from programs import fails_in_one_line
from small_corpora import adapt, lines, report

from data_prep.earlier_manifest import Earlier, follow, overwritten, read_earlier

SPLITS = "--splits=train=0.8,val=0.1,eval=0.1"


def _follow(old, new, lengths=None):
    """{now: then} of what is found again, and who is gone. old: id -> seconds."""
    earlier = {
        name: Earlier(name, f"/old/{name}", split=f"of.{number}", duration_s=seconds)
        for number, (name, seconds) in enumerate(old.items())
    }
    notes = []
    paths = {name: f"/new/{name}" for name in new}
    found = follow(earlier, paths, lengths or {}, notes)
    names = {one.split: name for name, one in earlier.items()}
    assert all(one.id == name for name, one in found.items())
    gone = [note.id for note in notes if note.kind == "gone"]
    renamed = {note.id for note in notes if note.kind == "renamed"}
    pairs = {name: names[one.split] for name, one in found.items()}
    assert renamed == {name for name, old in pairs.items() if name != old}
    return pairs, gone


@pytest.mark.parametrize(
    "old, new",
    [
        ("a.mp4", "deep/er/a.mp4"),
        ("x/a.mp4", "a.mp4"),
        ("x/a.mp4", "y/a.mp4"),
        ("a.mp4", "a.webm"),
        ("x/a.mp4", "y/a.MKV"),
        ("caf\u00e9.mp4", "cafe\u0301.mp4"),
    ],
)
def test_a_renamed_file_is_found_again(old, new):
    assert _follow({old: 3.0, "b.mp4": 3.0}, [new, "b.mp4"])[0] == {
        new: old,
        "b.mp4": "b.mp4",
    }


def test_files_are_found_by_the_longest_end_of_their_path():
    old = dict.fromkeys(("1/a.mp4", "2/a.mp4", "2/b.mp4"))
    new = ["v/2/a.mp4", "v/1/a.mp4", "v/2/b.mp4"]
    assert _follow(old, new) == ({name: name[2:] for name in new}, [])


def test_files_are_found_by_a_length_that_is_theirs_alone():
    old = {"a.mp4": 3.5, "b.mp4": 4.0, "c.mp4": 4.0, "d.mp4": None}
    lengths = {"u.mp4": 3.5, "v.mp4": 4.0, "w.mp4": None, "x.mp4": 0.0}
    found, gone = _follow(old, list(lengths), lengths)
    assert found == {"u.mp4": "a.mp4"} and gone == ["b.mp4", "c.mp4", "d.mp4"]


def test_what_is_there_is_taken_for_nothing_else():
    assert _follow({"a.mp4": 1.0}, ["x/a.mp4", "a.mp4"]) == ({"a.mp4": "a.mp4"}, [])
    # Two could be it: neither is.
    assert _follow({"a.mp4": 1.0}, ["x/a.mp4", "y/a.mp4"]) == ({}, ["a.mp4"])


def test_fields_that_are_not_written_again_are_told():
    earlier = {
        "a": Earlier(
            "a",
            "a",
            language="sw",
            labels={"x": 1},
            clips=({"start_s": 1},),
            recording_id="a",
        ),
        "b": Earlier("b", "b", language="sw", recording_id="a"),
    }
    new = [{"id": name, "language": "sw"} for name in ("a", "b", "c")]
    (note,) = overwritten(earlier, new)
    assert note.id == "a" and "the clips and labels of" in note.detail
    (note,) = overwritten(earlier, new, except_for=["clips"])
    assert "the labels of" in note.detail
    new = [{"id": "b", "language": "ja"}]
    assert "the language of" in overwritten(earlier, new)[0].detail
    # Whose name is that of no file was put in by hand.
    earlier = {"b": Earlier("b", "b", recording_id="both parts")}
    assert "the recording_id of" in overwritten(earlier, new)[0].detail


@pytest.fixture
def made(tmp_path):
    """A folder, its manifest, and what runs the program."""
    folder, manifest = tmp_path / "videos", tmp_path / "m.jsonl"
    folder.mkdir()
    for index in range(20):
        (folder / f"{index}.mp4").write_text(f"no matter what, {index}")

    def adapt_to(*arguments, videos=folder):
        flags = (f"--videos={videos}", "--nocheck_media")
        return adapt("folder", manifest, "--language=sw", *flags, *arguments)

    adapt_to(SPLITS)
    return folder, manifest, adapt_to


def _splits(manifest):
    return {name: line["split"] for name, line in lines(manifest).items()}


def test_a_folder_under_another_name_keeps_its_splits(made):
    folder, manifest, adapt_to = made
    before = _splits(manifest)
    done = adapt_to(SPLITS, videos=folder.parent)
    assert _splits(manifest) == {f"videos/{name}": s for name, s in before.items()}
    assert "20 renamed (videos/0.mp4: taken for 0.mp4" in done.stdout
    shutil.move(folder, folder.parent / "other")
    adapt_to(SPLITS, videos=folder.parent / "other")
    assert _splits(manifest) == before


def test_recordings_that_leave_the_manifest_are_told(made, tmp_path):
    folder, manifest, adapt_to = made
    (folder / "3.mp4").unlink()
    (tmp_path / "by hand.mp4").touch()
    mine = {"id": "mine", "media": "by hand.mp4", "language": "ja"}
    with open(manifest, "a") as file:
        file.write(json.dumps(mine) + "\n")
    done = adapt_to(SPLITS)
    assert set(report(manifest)["gone"]) == {"3.mp4", "mine"}
    assert "3.mp4: in the earlier manifest, and not there now" in done.stdout
    assert "mine: in the earlier manifest, and not below --videos" in done.stdout


def test_splits_that_are_not_asked_for_again_are_told(made):
    _, manifest, adapt_to = made
    before = _splits(manifest)
    done = adapt_to()
    assert f"20 moved ({next(iter(before))}" in done.stdout
    assert "from train to all, as --splits is not given" in done.stdout
    assert "moved" not in adapt_to().stdout


def test_a_line_that_cannot_be_read_loses_no_split(made):
    _, manifest, adapt_to = made
    text = manifest.read_text()
    broken = text.replace('"language": "sw"', '"note": "good", "language": "sw"', 1)
    manifest.write_text(broken)
    with pytest.raises(ValueError, match="line 1: unknown field 'note'"):
        read_earlier(str(manifest))
    done = adapt_to(SPLITS)
    fails_in_one_line(done, "line 1: unknown field 'note'", "--nokeep_splits")
    assert manifest.read_text() == broken
    # Without splits to keep, it may be anything.
    assert adapt_to().returncode == 0
