"""Every command of the documentation runs as written, page by page.

A project folder stands in for a clone: configs/ with trainings of an epoch, a made
corpus of tiny videos where README's reader has his own, a made demo, and small files
in the authors' forms. Blocks that a test cannot run say why, in a comment before them.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import doc_pages
import narrated
import numpy as np
import pytest
import recipe_weights
import s3_server
import torch_files
from doc_pages import PAGES
from programs import ROOT, run
from small_corpora import image, wav

from avl_tf.torch_weights import read_torch_file
from data_prep.builder import decisions

# What a stage's flagfile is cut down to; the later of two flags holds.
_SMALL = "\n--epochs=1\n--evaluate_every=1\n--batch_size=2\n--clips_per_recording=2\n"
_SMALL_MODEL = "--audio_widths=8,8,16,16,16\n--embedding_dim=16\n--clip_s=2\n"
DATA = ROOT / "tests" / "data"
VISUAL = "GU_video.fc.weight"


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_are(page):
    found = doc_pages.blocks(page)
    assert {block.kind for block in found} <= doc_pages.KINDS
    assert doc_pages.unfenced(page) == []


def test_all_pages_are_listed():
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    with_blocks = {page for page in pages if doc_pages.blocks(page)}
    assert with_blocks <= set(PAGES)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for path in (folder / "configs").glob("*.flags"):
        if not re.match("cascade|.*evaluate|zero|ablation(?!.*_base[.])", path.name):
            is_model = bool(re.match("demo.flags|.*scratch|howto|places", path.name))
            text = path.read_text() + _SMALL + is_model * _SMALL_MODEL
            path.write_text(text)
    with (folder / "configs" / "howto100m.flags").open("a") as out:
        out.write("--batch_size=32\n--clips_per_recording=8\n")  # of a --micro_batch
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def demo(project):
    """What `make demo` leaves, small and of drawn shapes and tones."""
    small = "--val_videos=1 --eval_videos=2 --video_s=10 --n_concepts=6".split()
    videos = "--train_videos=es:2,ro:2,ru:2"
    _run(
        project,
        "data_prep.stamps",
        "--out_dir=data/demo",
        "--synthetic",
        videos,
        *small,
    )
    for language in ("es", "ro", "ru"):
        folder = f"data/demo/{language}"
        files = f"--manifest={folder}/manifest.jsonl", f"--out_dir={folder}/records"
        _run(project, "data_prep.extract", *files, "--backbone_2d=efficientnet_lite0")
    cascade = "--flagfile=configs/cascade_demo.flags"
    _run(project, "avl_tf.cascade", cascade, "--run_dir=runs/demo")
    wav(project / "mine.wav")


@pytest.fixture(scope="module")
def readers_files(project):
    """What the pages' reader has of his own: videos, captions, a review."""
    videos = project / "data" / "my" / "videos"
    videos.mkdir(parents=True)
    for index in range(6):
        path = str(videos / f"kuku-{index}.mp4")
        narrated.write_narrated(path, 1 + 0.04 * index, n_sentences=1, seed=index)
    review = {"format": decisions.FORMAT, "clips": {}, "videos": {}}
    (project / "decisions.json").write_text(json.dumps(review))
    rows = ["media,image,split"]
    for index in range(40):
        sound, picture = f"caption{index}.wav", f"image{index}.jpg"
        wav(project / sound, 300 + 20 * index)
        image(project / picture, index)
        rows.append(f"{sound},{picture},{'val' if index % 2 else 'train'}")
    (project / "captions.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def authors_files(project):
    """Narrow weights and a few clips, with features as wide as the authors'."""
    random = np.random.default_rng(0)
    state = read_torch_file(str(DATA / "tiny_avlnet.pth"))
    weight = 0.01 * random.standard_normal((len(state[VISUAL]), 4096))
    state[VISUAL] = weight.astype(np.float32)
    recipe_weights.write(project / "AVLnet_release.pth", state)
    clips = [
        {
            "id": f"clip{index}",
            "audio": torch_files.tensor(
                random.uniform(-80, 0, (40, 300)).astype(np.float32)
            ),
            "2d": random.random(2048, np.float32),
            "3d": random.random(2048, np.float32),
        }
        for index in range(6)
    ]
    pickled = project / "youcook_val_audio.pkl"
    pickled.write_bytes(torch_files.pickle_bytes(clips))
    for folder in (
        *("howto100m", "youcook2/train", "youcook2/val"),
        *("youcook_japanese/train", "youcook_japanese/val", "youcook_japanese/eval"),
    ):
        files = f"--pickle={pickled.name}", f"--out_dir=data/{folder}"
        language = ["--language=ja"] * ("japanese" in folder)
        _run(project, "data_prep.import_release", *files, *language)


@pytest.fixture(scope="module")
def published_files(project):
    """A corpus in the layout of Places, and weights of the papers' CNNs."""
    corpus = project / "PlacesAudioJpn_100k"
    corpus.mkdir()
    for split, numbers in {"train": range(4), "valid": range(4, 7)}.items():
        pairs = [f"/a/{n}.jpg /wav/{n}.wav\n" for n in numbers]
        listed = corpus / f"PlacesAudioJpn_100k_image2audio_{split}.txt"
        listed.write_text("".join(pairs))
        for n in numbers:
            wav(corpus / f"{n}.wav", 300 + 50 * n)
            image(project / "Places205" / "images" / "a" / f"{n}.jpg", n)
    for name, tag in {
        "resnet152": "resnet152",
        "resnext101": "resnext101_3d",
    }.items():
        shapes = json.loads((DATA / f"{tag}_shapes.json").read_text())
        arrays = {k: recipe_weights.array(tag, k, shape) for k, shape in shapes.items()}
        recipe_weights.write(project / f"{name}.pth", arrays)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("demo", "readers_files", "authors_files", "published_files")
def test_page_runs(page, project):
    with contextlib.ExitStack() as stack:
        environment = {}
        if page == "docs/remote.md":
            environment = stack.enter_context(s3_server.serve("bucket"))
        for block in doc_pages.blocks(page):
            if block.reason is None and block.kind == "python":
                _call([sys.executable, "-c", block.text], project, environment)
            if block.reason is None and block.kind == "sh":
                for words in block.commands:
                    _follow(words, project, environment)


def _follow(words, project, environment):
    """Does what a line of a page says, or looks that it could be done."""
    if words[0] == "export":
        return
    if words[0] == "make":
        return _call(["make", "--dry-run", *words[1:]], ROOT, {})
    if words[0].endswith("tensorboard"):
        return _look_at_tensorboard(words, project, environment)
    assert words[0] in ("python", ".venv/bin/python"), words
    assert words[1] == "-m", words
    module, arguments = words[2], words[3:]
    if module == "pytest":
        return _call([sys.executable, *words[1:], "--collect-only"], ROOT, {})
    if environment:
        return _call([sys.executable, *words[1:]], project, environment)
    return _run(project, module, *arguments)


def _run(project, module, *arguments):
    done = run(module, *arguments, cwd=project)
    assert done.returncode == 0, f"{module} {arguments}\n{done.stdout}\n{done.stderr}"


def _call(command, folder, environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def _look_at_tensorboard(words, project, environment):
    """Starts it and waits until it lists a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", *words[1:], f"--port={port}"]
    process = subprocess.Popen(
        command,
        cwd=project,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 120
        runs = ""
        while (
            "recall/R@1" not in runs
            and time.monotonic() < until
            and process.poll() is None
        ):
            time.sleep(1)
            with contextlib.suppress(OSError):
                address = f"http://127.0.0.1:{port}/data/runs"
                with urllib.request.urlopen(address, timeout=30) as answer:
                    runs = answer.read().decode()
    finally:
        process.kill()
        process.wait()
    assert "recall/R@1" in runs, words
