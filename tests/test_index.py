"""python -m avl_tf.index, as a user meets it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import index_model
import made_media
import numpy as np
import pytest
from programs import environment, fails_in_one_line, run

import avl_tf
from avl_tf import media
from avl_tf.errors import UserError
from avl_tf.retrieval import Store, segments, writing

pytestmark = pytest.mark.slow

# Commits every recording, so that a kill comes between two of them.
_PROGRAM = """
import sys
from avl_tf.commands import indexing
from avl_tf import index
indexing._COMMIT_S = 0
index.cli()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run directory and its records, and a folder of media of all kinds."""
    folder = tmp_path_factory.mktemp("index")
    records = index_model.make_records_of_media(folder)
    run_dir, _ = index_model.make_run(folder, records=records, evaluated_s=0.0)
    videos = folder / "videos"
    videos.mkdir()
    frames = [made_media.noise(seed, 96, 128) for seed in range(4)] * 20
    for name, seconds in {"a": 3.2, "b": 3.2, "c": 1.6}.items():
        sound = made_media.sine(seconds, hz=20 * ord(name))
        shown = frames[: round(25 * seconds)]
        made_media.make_media(videos / f"{name}.mp4", shown, sound, fps=25)
    made_media.make_media(videos / "silent.mkv", frames, fps=25)
    media.write_wav(videos / "said.wav", made_media.sine(3.1, rate=16000), 16000)
    (videos / "text.mp4").write_text("no video")
    (videos / "text.wav").write_text("no sound")
    return run_dir, records, videos


def _kill_after_first_commit(arguments, index_dir):
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while process.poll() is None:
            try:
                with Store.open(index_dir) as store:
                    if store.n_windows:
                        break
            except (FileNotFoundError, UserError):
                pass
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def index(made, tmp_path_factory):
    """An index, of which the first process was killed; it is not to be changed."""
    run_dir, _, videos = made
    index_dir = str(tmp_path_factory.mktemp("made") / "index")
    arguments = [f"--index_dir={index_dir}", "--workers=1"]
    first = [f"--model={run_dir}", f"--videos={videos}", "--window_s=2"]
    _kill_after_first_commit([*arguments, *first], index_dir)
    with Store.open(index_dir) as store:
        assert 0 < len(store.media()) < 7
    done = run("avl_tf.index", *arguments)
    fails_in_one_line(done, "2 of 7 recordings failed", "failures.jsonl", "text.mp4")
    return index_dir, done.stdout


def test_a_folder_is_indexed_whatever_is_in_it(made, index):
    (run_dir, _, videos), (index_dir, output) = made, index
    assert "5 recordings" in output.splitlines()[-1]
    assert "2 failed" in output.splitlines()[-1]
    with open(os.path.join(index_dir, "failures.jsonl")) as lines:
        assert {json.loads(line)["id"] for line in lines} == {"text.mp4", "text.wav"}
    with Store.open(index_dir) as store:
        store.check()
        by_id = {one.source.record_id: one for one in store.media()}
        assert len(by_id) == 7
        heard, seen = {}, {}
        for name, medium in by_id.items():
            windows = store.windows(store.window_ids(medium.id))
            assert len(windows) == medium.n_windows
            assert not windows or windows[0].media == str(videos / name)
            times = [(one.start_s, one.end_s) for one in windows]
            if name == "a.mp4":
                np.testing.assert_allclose(
                    times, [(0, 2), (1, 3), (1.2, 3.2)], atol=0.05
                )
            for one in windows[:1]:
                segment = store.segment_of(one.id)
                row = one.id - segment.first_window
                heard[name] = store.vectors("audio", segment)[row]
                seen[name] = store.vectors("visual", segment)[row]
                n_steps = len(store.steps(one.id)[0])
                assert n_steps == {"said.wav": 0}.get(name, 2)
    assert {k for k, v in heard.items() if np.isnan(v).any()} == {"silent.mkv"}
    assert {k for k, v in seen.items() if np.isnan(v).any()} == {"said.wav"}
    # One that is shorter than a window is embedded as the door of users does it.
    model, path = avl_tf.load(run_dir), str(videos / "c.mp4")
    pairs = (heard, model.embed_audio(path)), (seen, model.embed_video(path))
    for found, expected in pairs:
        largest = np.abs(expected).max()
        np.testing.assert_allclose(found["c.mp4"], expected[0], atol=1e-3 * largest)


def test_only_what_has_changed_is_worked_on(made, index, tmp_path):
    videos, index_dir = tmp_path / "videos", str(tmp_path / "index")
    shutil.copytree(made[2], videos)
    for name in ("text.mp4", "text.wav"):
        (videos / name).unlink()
    with Store.open(index[0]) as store:
        known = [one for one in store.media() if not one.failure]
        kept = [store.window_ids(one.id) for one in known]
    shutil.copytree(index[0], index_dir)
    _move_origin(index_dir, made[2], videos)
    (videos / "a.mp4").rename(videos / "moved.mp4")
    (videos / "c.mp4").unlink()
    done = run("avl_tf.index", f"--index_dir={index_dir}")
    assert done.returncode == 0, done.stderr
    # No model was loaded for it, and no worker started.
    assert "3 kept, 1 renamed, 3 gone" in done.stdout.splitlines()[-1]
    with Store.open(index_dir) as store:
        ids = {one.source.record_id: one.id for one in store.media()}
        assert set(ids) == {"moved.mp4", "b.mp4", "silent.mkv", "said.wav"}
        assert sorted(store.window_ids(ids["moved.mp4"])) in kept
    done = run("avl_tf.index", f"--index_dir={index_dir}", "--remove=b.mp4,said.wav")
    assert done.stdout == f"{index_dir}: 2 recordings taken out\n"
    done = run("avl_tf.index", f"--index_dir={index_dir}")
    assert "2 kept, 2 left out by --remove" in done.stdout
    done = run("avl_tf.index", f"--index_dir={index_dir}", "--remove=b.mp4,none")
    fails_in_one_line(done, "--remove=none", "no recording")
    out = tmp_path / "out"
    done = run("avl_tf.index", f"--index_dir={index_dir}", f"--export={out}")
    visual = np.load(out / "visual.npy", allow_pickle=False)
    lines = (out / "windows.jsonl").read_text().splitlines()
    assert visual.dtype == np.float16 and len(visual) == len(lines)
    windows = [json.loads(line) for line in lines]
    assert {one["record_id"] for one in windows} == {"moved.mp4", "silent.mkv"}
    with Store.open(index_dir) as store:
        segment = store.segment_of(windows[0]["id"])
        row = windows[0]["id"] - segment.first_window
        np.testing.assert_array_equal(visual[0], store.vectors("visual", segment)[row])
    done = run("avl_tf.index", f"--index_dir={index_dir}", f"--export={out}")
    fails_in_one_line(done, "it is there already")


def _move_origin(index_dir, before, after):
    """As if the index had been made of another folder."""
    with writing.writing(index_dir) as writer:
        text = json.dumps(writer.note("settings"))
        writer.put_note("settings", json.loads(text.replace(str(before), str(after))))
        moved = []
        for one in writer.media():
            values = vars(one.source) | {"origin": f"videos:{after}"}
            values["media"] = values["media"].replace(str(before), str(after))
            moved.append((one.id, type(one.source)(**values)))
        writer.update(moved)


def test_records_are_added_and_another_model_is_refused(made, index, tmp_path):
    run_dir, records, _ = made
    index_dir = str(tmp_path / "index")
    shutil.copytree(index[0], index_dir)
    arguments = [f"--index_dir={index_dir}", "--workers=1"]
    with writing.writing(index_dir):
        done = run("avl_tf.index", *arguments)
        fails_in_one_line(done, "another process is writing to this index")
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text('{"id": "r0", "media": "r0.mp4"}\n')
    done = run(
        "avl_tf.index", *arguments, f"--records={records}", f"--manifest={manifest}"
    )
    fails_in_one_line(done, "2 of 10 recordings failed")
    assert "3 made, 5 kept" in done.stdout.splitlines()[-1]
    with Store.open(index_dir) as store:
        found = {one.source.record_id: one for one in store.media()}
        assert found["r0"].source.media == str(tmp_path / "r0.mp4")
        assert found["r0"].source.language == "xx" and found["r0"].n_windows == 7
        assert "without their media" in store.missing(found["r1"].id)
        assert "deleted or moved" in store.missing(found["r0"].id)
        before = store.n_windows
    other = tmp_path / "other"
    other_run, _ = index_model.make_run(other, records=records, seed=1)
    done = run("avl_tf.index", *arguments, f"--model={other_run}")
    fails_in_one_line(done, f"made with the model {run_dir}", "--rebuild")
    with Store.open(index_dir) as store:
        assert store.n_windows == before


def test_a_damaged_index_is_told_and_made_anew_with_one_flag(index, tmp_path):
    index_dir = str(tmp_path / "index")
    shutil.copytree(index[0], index_dir)
    flag = f"--index_dir={index_dir}"
    assert run("avl_tf.index", flag, "--check").stdout.endswith("windows\n")
    with open(segments.path(index_dir, 0, "visual"), "r+b") as file:
        file.truncate(130)
    for arguments in ([flag], [flag, "--check"]):
        fails_in_one_line(run("avl_tf.index", *arguments), "visual.npy", "--rebuild")
    with open(os.path.join(index_dir, "index.sqlite"), "r+b") as file:
        file.write(b"no database at all")
    for arguments in ([flag], [flag, "--check"], [flag, "--remove=a.mp4"]):
        fails_in_one_line(run("avl_tf.index", *arguments), "index.sqlite", "--rebuild")
    os.remove(os.path.join(index_dir, "index.sqlite"))
    fails_in_one_line(run("avl_tf.index", flag), "database", "is gone", "--rebuild")
    done = run("avl_tf.index", flag, "--rebuild", "--workers=1")
    fails_in_one_line(done, "2 of 7 recordings failed")
    with Store.open(index[0]) as whole, Store.open(index_dir) as store:
        store.check()
        assert store.n_windows == whole.n_windows
        assert store.model == whole.model


@pytest.mark.parametrize(
    "arguments, text",
    [
        ((), "no index here yet"),
        (("--check",), "no index here"),
        (("--remove=a",), "no index here"),
        (("--check", "--watch"), "not both"),
        (("--model=none", "--videos=none"), "no such folder"),
        (("--model=.",), "what is to be found"),
        (("--model=.", "--videos=.", "--records=r"), "by itself"),
        (("--model=.", "--manifest=none"), "no such file"),
        (("--model=.", "--records=none"), "no records here"),
        (("--model=.", "--videos=.", "--window_s=nan"), "window_s"),
        (("--model=.", "--videos=.", "--language="), "--language is empty"),
        (("--model=.", "--videos=s3://b/c"), "local"),
    ],
)
def test_wrong_settings_are_told_at_once(tmp_path, arguments, text):
    done = run("avl_tf.index", "--index_dir=new", *arguments, cwd=tmp_path)
    fails_in_one_line(done, text)
    assert not os.listdir(tmp_path)


def test_a_folder_is_followed_until_it_is_interrupted(index, made, tmp_path):
    index_dir, videos = str(tmp_path / "index"), tmp_path / "videos"
    shutil.copytree(index[0], index_dir)
    shutil.copytree(made[2], videos)
    _move_origin(index_dir, made[2], videos)
    flags = [f"--index_dir={index_dir}", "--watch", "--poll_s=1", "--workers=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "avl_tf.index", *flags],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        (videos / "c.mp4").unlink()
        assert "1 gone" in process.stdout.readline()
        # A file that grows is taken when it is whole.
        content = (videos / "b.mp4").read_bytes()
        for end in (2000, 9000, len(content)):
            (videos / "new.mp4").write_bytes(content[:end])
            time.sleep(0.1)
        line = process.stdout.readline()
        while "vectors:" in line:
            line = process.stdout.readline()
        assert "1 made" in line and "2 failed" in line
        (videos / "bad.mp4").write_bytes(b"no video")
        line = process.stdout.readline()
        assert "3 failed" in line
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in errors
    (told,) = [line for line in errors.splitlines() if "the first is bad.mp4" in line]
    assert "1 of 8 recordings failed" in told and "failures.jsonl" in told
    assert out.splitlines()[-1].endswith("stopped; what was kept stays")
