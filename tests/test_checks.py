"""data_prep.checks and media_files, where the adapters' tests do not reach."""

import os
import unicodedata

import made_media
import numpy as np
import pytest
import small_corpora

from avl_tf import media
from avl_tf.manifest import media_files
from avl_tf.manifest.media_files import VIDEO_SUFFIXES, MediaFiles
from data_prep import checks, listening


def _line(identity, split="train", **fields):
    return {"id": identity, "media": f"{identity}.mp4", "split": split, **fields}


def _ids(found, lines):
    return [lines[index]["id"] for index in sorted(found)]


def test_overlaps_go_from_training_first():
    lines = [
        _line("a", "train", recording_id="1"),
        _line("b", "val_unseen", recording_id="1"),
        _line("c", "eval", recording_id="2"),
        _line("d", "dev", recording_id="2"),
        _line("e", "train", recording_id="3"),
        _line("f", "train", recording_id="3"),
        _line("g", "test_seen", recording_id="4"),
        _line("h", "test_unseen", recording_id="4"),
    ]
    found = checks.overlaps(lines)
    assert _ids(found, lines) == ["a", "d", "h"]
    assert "'1' is in 'train', and in 'val_unseen' too" in found[0].detail


def test_duplicates_say_whether_they_are_the_same():
    lines = [_line("a"), _line("b"), _line("a"), _line("a", labels={"x": 1})]
    found = checks.duplicate_ids(lines)
    details = {index: finding.detail for index, finding in found.items()}
    assert details == {2: "the same again", 3: "the id of something else"}


def test_identical_files_are_grouped(tmp_path):
    big = os.urandom(200_000)
    contents = {
        "a": big,
        "b": b"small",
        "c": big,
        "d": big[:-1] + bytes([big[-1] ^ 1]),
        "e": b"",
        "f": b"",
        "g": b"small",
        "h": b"smalL",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.symlink(tmp_path / "d", tmp_path / "i")
    paths = [str(tmp_path / name) for name in [*contents, "i", "none"]]
    assert checks.identical_files(paths) == [[0, 2], [1, 6], [3, 8]]
    assert checks.identical_files([]) == []


@pytest.mark.parametrize("suffix", [".wav", ".mkv"])
def test_silence_is_all_zeros_in_the_span(tmp_path, suffix):
    # Sound comes late: after the first window that is read.
    sound = np.zeros(70 * 16000, np.float32)
    sound[65 * 16000] = 0.5
    path = tmp_path / f"late{suffix}"
    made_media.make_media(
        path,
        sound=sound,
        rate=16000,
        layout="mono",
        audio_codec="pcm_s16le" if suffix == ".wav" else "flac",
    )
    assert not listening.is_silent(str(path))
    assert listening.is_silent(str(path), 0, 64.5)
    assert listening.is_silent(str(path), 65.5)
    assert not listening.is_silent(str(path), 64, 66)


def test_examined_media_have_a_length_or_a_finding(tmp_path):
    for name in ("good", "zeros", "mute"):
        small_corpora.video(tmp_path / f"{name}.mp4", name)
    media.write_wav(str(tmp_path / "good.wav"), made_media.sine(2, rate=16000), 16000)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")

    def examine(name, **fields):
        path = str(tmp_path / name)
        finding, duration_s = listening.examine({"id": name, "media": path, **fields})
        return finding and finding.kind, round(duration_s)

    assert examine("good.mp4") == (None, 1)
    assert examine("zeros.mp4") == ("silent", 1)
    assert examine("mute.mp4") == ("silent", 1)
    # Sound alone will do only if an image goes with it.
    assert examine("good.wav") == ("dead", 0)
    image = str(tmp_path / "good.png")
    media.write_image(image, made_media.noise())
    assert examine("good.wav", image=image) == (None, 2)
    assert examine("good.wav", image=str(tmp_path / "torn.jpg")) == ("dead", 0)


def test_clips_beyond_the_end_depend_on_the_span():
    clips = [{"start_s": start, "end_s": start + 1} for start in (0, 4.5, 5, 9)]
    assert not checks.clips_beyond_end(_line("a", clips=clips))
    line = _line("a", clips=clips, duration_s=10)
    assert not checks.clips_beyond_end(line)
    assert list(checks.clips_beyond_end({**line, "start_s": 5})) == [2, 3]
    assert list(checks.clips_beyond_end({**line, "end_s": 9})) == [3]


@pytest.fixture
def tree(tmp_path):
    for name in (
        "a/x.mp4",
        "b/x.webm",
        "b/deep/y.MKV",
        "Some title [abcdefghi-1].webm",
        "two.mp4",
        "two.avi",
        "two.jpg",
        "three.mp4",
        "b/three.webm",
        "c/dotted.name.mp4",
        ".hidden/z.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("y", "b/deep/y.MKV"),
        ("two", "two.mp4"),
        ("two.avi", "two.avi"),
        ("/two.mov", "two.mp4"),
        ("b/x", "b/x.webm"),
        ("b/three.mp4", "b/three.webm"),
        ("z/three.webm", "three.mp4"),
        ("/elsewhere/b/x.mp4", "b/x.webm"),
        ("deep/y.mp4", "b/deep/y.MKV"),
        ("./a//x.mp4", "a/x.mp4"),
        ("c/x.mp4", None),
        ("shallow/y.mp4", None),
        ("abcdefghi-1", "Some title [abcdefghi-1].webm"),
        ("dotted.name", "c/dotted.name.mp4"),
        ("z", None),
        ("", None),
    ],
)
def test_files_are_found_by_the_end_of_their_path(tree, wanted, found):
    files = MediaFiles(str(tree), VIDEO_SUFFIXES)
    path = files.find(wanted)
    assert path == (found and str(tree / found))


def test_files_of_one_id_are_told(tree):
    files = MediaFiles(str(tree), VIDEO_SUFFIXES)
    assert files.find("x") == str(tree / "a" / "x.mp4")
    assert files.find("b/x") and files.find("y")
    assert files.ambiguous == {"x": ["a/x.mp4", "b/x.webm"]}
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        MediaFiles(str(tree / "none"), VIDEO_SUFFIXES)


def _forms(name):
    return [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]


@pytest.mark.parametrize("wanted", [0, 1])
@pytest.mark.parametrize("name", ["Köln/über [1].mp4", "각.webm", "café/ñ", "Å.mkv"])
def test_files_are_found_in_another_unicode_form(tmp_path, name, wanted):
    forms = _forms(name)
    suffix = "" if name.endswith(("mp4", "webm", "mkv")) else ".mp4"
    there = tmp_path / (forms[1 - wanted] + suffix)
    small_corpora.video(there)
    files = MediaFiles(str(tmp_path), VIDEO_SUFFIXES)
    assert files.find(forms[wanted]) == str(there)
    assert files.other_forms == [forms[wanted]] and not files.ambiguous
    # The form that is asked for goes first, and needs no words.
    exact = tmp_path / (forms[wanted] + suffix)
    small_corpora.video(exact)
    files = MediaFiles(str(tmp_path), VIDEO_SUFFIXES)
    assert files.find(forms[wanted]) == str(exact)
    assert not files.other_forms and not files.ambiguous


def test_a_name_in_a_third_form_between_two_is_ambiguous(tmp_path):
    composed, decomposed = _forms("é-é")
    third = composed[0] + decomposed[-3:]
    assert third not in (composed, decomposed)
    for name in (composed, decomposed):
        small_corpora.video(tmp_path / f"{name}.mp4")
    files = MediaFiles(str(tmp_path), VIDEO_SUFFIXES)
    assert files.find(third) in [f"{tmp_path}/{n}.mp4" for n in (composed, decomposed)]
    assert list(files.ambiguous) == files.other_forms == [third]
    for name in (third, composed, decomposed, "ü/a"):
        path = f"{tmp_path}/{name}.mp4"
        assert media_files.as_on_disk(path) == path
    small_corpora.video(tmp_path / "one" / f"{composed}.mp4")
    for name in (third, decomposed):
        path = media_files.as_on_disk(f"{tmp_path}/one/{name}.mp4")
        assert path == f"{tmp_path}/one/{composed}.mp4"
