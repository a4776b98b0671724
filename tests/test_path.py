"""The whole path as the demo takes it, a new process each step, on a tiny corpus."""

import functools
import json
import re
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
--at_once=2
"""

IMAGES = """\
--synthetic
--languages=es,ro
--train_images=es:24,ro:16
--val_images=0
--eval_images=6
--n_concepts=8
--min_names=1
--max_names=2
"""
COMPARED = """\
--guide=es
--records=es=data/bilingual/es/records/train,ro=data/bilingual/ro/records/train
--evaluate=ro=data/bilingual/ro/records/eval
--base_flagfile=bilingual_base.flags
--guide_flagfile=guide.flags
--monolingual_systems=monolingual=guide.flags
--bilingual_systems=full=full.flags@guide
--seeds=3
"""
BASE = """\
--audio_widths=8,8,16
--embedding_dim=16
--clip_sampling=whole
--clip_s=3
--batch_size=8
--epochs=1
"""
FULL = """\
--loss=infonce
--temperature=0.3
--init_branches=audio:1,visual
--freeze=audio:1
--nn_queue=8
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
def test_from_captioned_images_to_the_table_of_systems(tmp_path):
    texts = {"bilingual_corpus": IMAGES, "bilingual_demo": COMPARED}
    texts |= {"bilingual_base": BASE, "guide": "--epochs=1\n", "full": FULL}
    for name, text in texts.items():
        (tmp_path / f"{name}.flags").write_text(text)
    done = run_all("data_prep.demo", "--out_dir=.", "--bilingual", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Synthetic corpus: drawn shapes and tones, no speech" in done.stdout
    table = json.loads((tmp_path / "runs" / "bilingual" / "bilingual.json").read_text())
    found = [(row["system"], row["language"], row["seed"]) for row in table["rows"]]
    assert found == [("monolingual", "ro", 3), ("full", "ro", 3)]
    for row in table["rows"]:
        assert row["n"] == 6 and row["a2v/R@10"] == 100.0
        assert 0 <= row["v2a/R@1"] <= 100
        assert f"| {row['system']:11} |" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"This took \d+ s: downloads 0 s, corpus \d+ s, .* trainings \d+ s", last
    )


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
    *_, look, _, served, last = done.stdout.splitlines()
    page = f"{folder.name}/runs/demo/report/index.html"
    assert page in look and (folder.parent / page).exists()
    indexes = [f"{name}={folder.name}/runs/demo/index/{name}" for name in ("ro", "es")]
    assert served.endswith(f"python -m avl_tf.app --index_dir={','.join(indexes)}")
    steps = ("downloads", "corpus", "extraction", "cascade", "index")
    took = re.fullmatch(r"This took (\d+) s: (.*)", last)
    parts = dict(re.findall(r"(\w+) (\d+) s", took[2]))
    assert tuple(parts) == steps and parts["downloads"] == "0"
    assert abs(sum(map(int, parts.values())) - int(took[1])) <= len(steps)
    video = next((folder / "data/demo/ro/videos").glob("*eval*"))
    asked = ("--index_dir=runs/demo/index/ro", f"--audio={video}", "--json")
    (hit, *_) = json.loads(run("avl_tf.search", *asked, cwd=folder).stdout)
    assert hit["media"] == str(video)
    # Again, it makes nothing anew.
    made = _times(folder / "runs" / "demo" / "ro" / "checkpoints")
    assert made
    again = run_all("data_prep.demo", f"--out_dir={folder.name}", cwd=folder.parent)
    assert again.returncode == 0 and again.stdout.splitlines()[-2] == served
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
