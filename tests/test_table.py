"""data_prep.table: a user's own csv."""

import pytest
from programs import fails_in_one_line
from small_corpora import adapt, image, lines, report, video, wav


def _adapt(tmp_path, text, *arguments, name="table.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    flags = (f"--table={tmp_path / name}", *arguments)
    return adapt("table", tmp_path / "out" / "m.jsonl", *flags)


@pytest.fixture
def manifest(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        video(tmp_path / "videos" / name)
    wav(tmp_path / "wavs" / "c.wav")
    image(tmp_path / "c.png")
    return tmp_path / "out" / "m.jsonl"


def test_rows_are_recordings(manifest, tmp_path):
    done = _adapt(
        tmp_path,
        "media,start_s,end_s,language,split,label,speaker\n"
        'videos/a.mp4,0,0.5,sw,train,"boil, slowly",anna\n'
        "videos/a.mp4,0.5,,,train,,\n"
        "videos/b.mp4,,,,,,\n",
        "--language=am",
    )
    assert done.returncode == 0, done.stderr
    found = lines(manifest)
    first, second, third = found.values()
    assert list(found) == ["videos/a.mp4@0-0.5", "videos/a.mp4@0.5", "videos/b.mp4"]
    assert (first["start_s"], first["end_s"], first["language"]) == (0, 0.5, "sw")
    assert first["labels"] == {"label": "boil, slowly", "speaker": "anna"}
    assert first["recording_id"] == second["recording_id"] == "videos/a.mp4"
    assert "end_s" not in second and second["language"] == "am"
    assert (third["split"], third["labels"]) == ("all", {})


def test_rows_may_have_ids_and_images(manifest, tmp_path):
    done = _adapt(
        tmp_path,
        "id\tmedia\timage\trecording_id\nsaid\twavs/c.wav\t../c.png\tpicture\n",
        f"--root={tmp_path}/videos/..",
        name="table.tsv",
    )
    assert "missing" in done.stderr
    _adapt(
        tmp_path,
        "id\tmedia\timage\trecording_id\nsaid\twavs/c.wav\tc.png\tpicture\n",
        name="table.TSV",
    )
    line = lines(manifest)["said"]
    assert line["recording_id"] == "picture" and line["image"].endswith("c.png")


def test_rows_may_be_clips(manifest, tmp_path):
    done = _adapt(
        tmp_path,
        "media,start_s,end_s,label,step\n"
        "videos/a.mp4,0,0.5,boil,1\n"
        "videos/b.mp4,0.25,0.75,fry,\n"
        "videos/a.mp4,0.5,1,stir,2\n"
        "videos/a.mp4,0.5,0.5,nothing,\n"
        "videos/a.mp4,7,8,after the end,\n",
        "--rows=clips",
        "--drop=span,beyond",
    )
    assert done.returncode == 0, done.stderr
    found = lines(manifest)
    assert list(found) == ["videos/a.mp4", "videos/b.mp4"]
    assert found["videos/a.mp4"]["clips"] == [
        {"start_s": 0, "end_s": 0.5, "label": "boil", "step": "1"},
        {"start_s": 0.5, "end_s": 1, "label": "stir", "step": "2"},
    ]
    assert {kind: len(ids) for kind, ids in report(manifest).items()} == {
        "beyond": 1,
        "span": 1,
    }


def test_defects_are_refused_until_they_are_dropped(manifest, tmp_path):
    text = (
        "id,media,split\na,videos/a.mp4,train\na,videos/a.mp4,train\n"
        "a2,videos/a.mp4,test\nb,videos/b.mp4,train\nd,videos/d.mp4,train\n"
    )
    done = _adapt(tmp_path, text)
    fails_in_one_line(
        done,
        "1 duplicates (a: the same again)",
        "1 missing (d:",
        "2 overlap (a, a: recording 'videos/a.mp4' is in 'train', and in 'test' too)",
        "--drop=duplicates,missing,overlap leaves them out",
    )
    assert not manifest.exists()
    assert report(manifest)["overlap"] == ["a", "a"]
    done = _adapt(tmp_path, text, "--drop=all")
    assert list(lines(manifest)) == ["a2", "b"], done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the header media, got ."),
        ("path\na.mp4\n", "expected the header media, got path"),
        ("media\n", "no rows below the header"),
        ("media,id\na.mp4\n", "row 1 has not 2 cells"),
        ("media,id\n,b\n", "row 1: media is empty"),
        ("media,start_s\na.mp4,soon\n", "row 1: start_s is 'soon', expected seconds"),
        ("media,end_s\na.mp4,-1\n", "row 1: expected 0 <= start_s < end_s"),
        ("media,end_s\na.mp4,nan\n", "row 1: expected 0 <= start_s < end_s"),
        (f"media,audio_track\na.mp4,{'9' * 5000}\n", "row 1: audio_track is '999"),
        ("media,split\na.mp4,a/b\n", "row 1: split 'a/b' names files"),
        ("media\nnothing.mp4\n", "1 missing (nothing.mp4"),
    ],
)
def test_a_wrong_table_is_an_error_that_says_where(tmp_path, text, message):
    fails_in_one_line(_adapt(tmp_path, text), message)


def test_nothing_that_is_left_is_an_error(tmp_path):
    done = _adapt(tmp_path, "media\nnothing.mp4\n", "--drop=missing")
    fails_in_one_line(done, "nothing is left of 1 recordings")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("0,inf", "row 1: expected 0 <= start_s < end_s, got 0.0 and inf"),
        ("0,Infinity", "got 0.0 and inf"),
        ("0,1e400", "got 0.0 and inf"),
        ("inf,", "got inf and None"),
        ("nan,1", "got nan and 1.0"),
        ("0,1e9", "1 unfit (videos/a.mp4@0-1e+09: a span in seconds needs"),
    ],
)
def test_times_that_a_manifest_refuses_are_not_written(
    manifest, tmp_path, cells, message
):
    done = _adapt(tmp_path, f"media,start_s,end_s\nvideos/a.mp4,{cells}\n")
    fails_in_one_line(done, message)
    assert not manifest.exists()


def test_a_column_that_stands_twice_is_refused(manifest, tmp_path):
    for header in ("media,split,split", "media, media ,x", "media,label,label"):
        done = _adapt(tmp_path, f"{header}\nvideos/a.mp4,b,c\n")
        fails_in_one_line(done, "table.csv: column ", "stands twice in its header")


def test_rows_that_no_manifest_holds_are_defects(manifest, tmp_path):
    text = (
        "media,id,split,language\n"
        "videos/a.mp4,good,train,sw\n"
        "videos/b.mp4,b\0b,train,sw\n"
        f"videos/b.mp4,{'b' * 5000},train,sw\n"
        'videos/b.mp4,b,train,"s\nw"\n'
    )
    done = _adapt(tmp_path, text)
    fails_in_one_line(done, "3 unfit (b\ufffdb: ", "'id' holds a NUL", "--drop=unfit")
    done = _adapt(tmp_path, text, "--drop=unfit")
    assert done.returncode == 0 and "dropped: 3 unfit" in done.stdout
    assert list(lines(manifest)) == ["good"]


def test_rows_of_another_form_are_defects(manifest, tmp_path):
    text = (
        "media,start_s,end_s\n"
        "videos/b.mp4,0,0.5\n"
        "videos/a.mp4,0,1,2\n"
        "videos/a.mp4,one,2\n"
        ",0,1\n"
    )
    for rows in ("recordings", "clips"):
        done = _adapt(tmp_path, text, f"--rows={rows}")
        fails_in_one_line(done, "3 unfit (videos/a.mp4: ", "row 2 has not 3 cells")
        done = _adapt(tmp_path, text, f"--rows={rows}", "--drop=unfit")
        assert done.returncode == 0, done.stderr
        (line,) = lines(manifest).values()
        assert line["media"].endswith("b.mp4")
        assert len(report(manifest)["unfit"]) == 3


def test_files_named_in_another_unicode_form_are_found(manifest, tmp_path):
    composed, decomposed = "vide\u0301os/e\u0301.mp4", "vid\u00e9os/\u00e9.mp4"
    video(tmp_path / decomposed)
    done = _adapt(tmp_path, f"media\n{composed}\nvideos/a.mp4\n")
    assert done.returncode == 0, done.stderr
    assert f"note: 1 other form ({composed}: the file's name" in done.stdout
    assert lines(manifest)[composed]["media"].endswith(decomposed)
    # Of several forms the one that is asked for.
    video(tmp_path / composed)
    done = _adapt(tmp_path, f"media\n{composed}\n")
    assert "other form" not in done.stdout
    assert lines(manifest)[composed]["media"].endswith(composed)
