"""data_prep.crosstask on the published layout."""

import pytest
from programs import fails_in_one_line
from small_corpora import adapt, lines, report, video

TASKS = """\
23521
Make Jello Shots
https://www.wikihow.com/Make-Jello-Shots
3
pour water,pour jello powder,stir mixture

16815
Make French Toast
https://www.wikihow.com/Make-French-Toast
2
crack egg,flip bread

"""


@pytest.fixture
def tree(tmp_path):
    release = tmp_path / "crosstask_release"
    (release / "annotations").mkdir(parents=True)
    (release / "tasks_primary.txt").write_text(TASKS)
    rows = ["23521,vidA", "23521,-vid_B", "16815,vidA", "16815,vidC", "999,related"]
    (release / "videos.csv").write_text(
        "".join(f"{row},https://www.youtube.com/watch?v=x\n" for row in rows)
    )
    (release / "videos_val.csv").write_text("16815,vidD,https://youtu.be/vidD\n")
    for name, text in {
        "23521_vidA": "1,0.1,0.5\n3,0.5,0.75\n",
        "23521_-vid_B": "2,0.0,0.9\n",
        "16815_vidA": "1,0.2,0.4\n",
        "16815_vidD": "2,0.25,0.5\n",
    }.items():
        (release / "annotations" / f"{name}.csv").write_text(text)
    for name in ("vidA.mp4", "sub/Some title [-vid_B].webm", "-vid_B.mp4", "vidD.mkv"):
        video(tmp_path / "videos" / name)
    return tmp_path


def _adapt(tree, *arguments):
    return adapt(
        "crosstask",
        tree / "m.jsonl",
        f"--annotations={tree}/crosstask_release",
        f"--videos={tree}/videos",
        *arguments,
    )


def test_videos_come_with_the_steps_of_their_task(tree):
    done = _adapt(tree)
    assert done.returncode == 0, done.stderr
    found = lines(tree / "m.jsonl")
    assert list(found) == ["23521_vidA", "23521_-vid_B", "16815_vidA", "16815_vidD"]
    # Steps count from 1.
    assert found["23521_vidA"]["clips"] == [
        {"start_s": 0.1, "end_s": 0.5, "label": "pour water"},
        {"start_s": 0.5, "end_s": 0.75, "label": "stir mixture"},
    ]
    assert found["16815_vidD"]["split"] == "val"
    assert found["16815_vidD"]["labels"] == {
        "task": "16815",
        "title": "Make French Toast",
    }
    assert found["16815_vidA"]["recording_id"] == "vidA"
    assert found["23521_-vid_B"]["media"] == "videos/-vid_B.mp4"
    assert report(tree / "m.jsonl") == {
        "unannotated": ["16815_vidC"],
        "other task": ["999_related"],
    }
    assert "3 recordings in train with 4 clips, 1 recording in val" in done.stdout


def test_a_video_of_two_tasks_and_splits_overlaps(tree):
    release = tree / "crosstask_release"
    (release / "videos_val.csv").write_text("16815,vidA,https://youtu.be/vidA\n")
    fails_in_one_line(
        _adapt(tree),
        "1 overlap (23521_vidA: recording 'vidA' is in 'train', and in 'val' too)",
    )
    _adapt(tree, "--drop=overlap")
    assert list(lines(tree / "m.jsonl")) == ["23521_-vid_B", "16815_vidA"]


def test_without_a_validation_list_all_is_train(tree):
    (tree / "crosstask_release" / "videos_val.csv").unlink()
    done = _adapt(tree)
    assert "videos_val.csv: so all is train" in done.stdout
    assert {line["split"] for line in lines(tree / "m.jsonl").values()} == {"train"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("annotations/23521_vidA.csv", "4,0,1\n", "row 1 is of step 4, the task has 3"),
        ("annotations/23521_vidA.csv", "0,0,1\n", "row 1 is of step 0"),
        ("annotations/23521_vidA.csv", "1,0\n", "row 1 has not 3 cells"),
        ("annotations/23521_vidA.csv", "1,a,b\n", "row 1: could not convert"),
        ("tasks_primary.txt", TASKS.replace("\n3\n", "\n4\n"), "expected blocks of"),
        ("tasks_primary.txt", "23521\nMake\n", "expected blocks of"),
    ],
)
def test_wrong_files_end_in_one_line(tree, name, text, message):
    (tree / "crosstask_release" / name).write_text(text)
    fails_in_one_line(_adapt(tree), name, message)
