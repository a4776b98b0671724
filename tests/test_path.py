"""The whole path as the demo takes it, a new process each step, on a tiny corpus."""

import functools
import json
import signal
import time

import pytest
import tensorflow as tf
from programs import fails_in_one_line, run, started
from programs import run_afresh as run_all

CORPUS = """\
--synthetic
--languages=es,ro
--train_videos=es:3,ro:2
--val_videos=0
--eval_videos=1
--video_s=12
--clip_s=4
"""
STAGE = """\
--records=data/demo/{language}/records/train
--audio_widths=8,8,16
--embedding_dim=16
--visual_scale=20
--clip_s=4
--clips_per_recording=8
--batch_size=16
--epochs=1
--evaluation_clip_s=4
"""
CASCADE = """\
--stages=es=es.flags,ro=ro.flags@es
--evaluate=ro=data/demo/ro/records/eval
"""


@pytest.fixture
def folder(tmp_path):
    """A folder whose files of the demo's names are those of a tiny demo."""
    (tmp_path / "demo_corpus.flags").write_text(CORPUS)
    (tmp_path / "cascade_demo.flags").write_text(CASCADE)
    for language in ("es", "ro"):
        text = STAGE.format(language=language)
        (tmp_path / f"{language}.flags").write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_videos_to_the_cascades_table(folder):
    done = run_all("data_prep.demo", f"--out_dir={folder.name}", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "Synthetic corpus: drawn shapes and tones, no speech" in done.stdout
    assert "| ro  | cascade   | es -> ro |" in done.stdout
    table = json.loads((folder / "runs" / "demo" / "cascade.json").read_text())
    assert table["synthetic"] and {row["n"] for row in table["rows"]} == {3}
    for stage in ("es", "ro"):
        export = folder / "runs" / "demo" / stage / "export" / "1"
        signatures = tf.saved_model.load(str(export)).signatures
        assert {"waveform", "wav_bytes", "log_mel", "visual"} <= set(signatures)
    last = done.stdout.splitlines()[-1]
    page = f"{folder.name}/runs/demo/report/index.html"
    assert page in last and (folder.parent / page).exists()
    # Again, it makes nothing anew.
    made = _times(folder / "runs" / "demo" / "ro" / "checkpoints")
    assert made
    again = run_all("data_prep.demo", f"--out_dir={folder.name}", cwd=folder.parent)
    assert again.returncode == 0 and again.stdout.splitlines()[-1] == last
    assert _times(folder / "runs" / "demo" / "ro" / "checkpoints") == made


def _times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("corpus", "asked"), [("demo", []), ("bilingual", ["--bilingual"])]
)
def test_a_step_that_fails_ends_the_demo_with_its_line(folder, corpus, asked):
    (folder / f"{corpus}_corpus.flags").write_text("--languages=es,es\n")
    done = run("data_prep.demo", f"--out_dir={folder}", *asked)
    fails_in_one_line(done, "give at least one, none twice")
    assert "extract" not in done.stderr


def test_stamps_are_found_from_where_the_demo_is_started(tmp_path):
    done = run("data_prep.demo", "--out_dir=x", "--stamps_dir=mine", cwd=tmp_path)
    fails_in_one_line(done, f"{tmp_path}/mine: no stamps there")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_ended_ends_its_step(folder, ending):
    (folder / "demo_corpus.flags").write_text("--synthetic\n--workers=1\n")
    with started("data_prep.demo", f"--out_dir={folder}") as process:
        videos = functools.partial(folder.glob, "data/demo/*/videos/*.mp4")
        while not list(videos()):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(ending)
        _, told = process.communicate(timeout=60)
    lines = [line for line in told.splitlines() if "stopped" in line]
    if ending == signal.SIGINT:
        assert process.returncode == 130 and len(lines) == 1, told
    made = list(videos())
    time.sleep(3)
    assert list(videos()) == made
