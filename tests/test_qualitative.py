"""The page of queries and their best clips, and TensorBoard's projector."""

import json
import re
import shutil
from html import unescape

import corpus
import index_model
import narrated
import numpy as np
import pytest
import tensorflow as tf
from programs import fails_in_one_line, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avl_tf import evaluation, media, trained
from avl_tf.commands import cascading, exhibiting
from avl_tf.errors import UserError
from avl_tf.evaluation import similarity_image
from avl_tf.records import open_records
from avl_tf.settings.exhibition import ExhibitionConfig

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ODD = "a <b> & 'c', \"d\""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four recordings of four clips, their media, and two untrained models of them."""
    folder = tmp_path_factory.mktemp("qualitative")
    made = [corpus.make_record(name) for name in ("r0", "r1", ODD, "r3")]
    corpus.write_records(str(folder / "records"), made)
    lines = []
    for number, record in enumerate(made):
        pictures = narrated.pictures(8, seed=number, height=48, width=64)
        waveform = narrated.music(8, seed=number)
        media.write_video(
            folder / f"{number}.mp4", pictures, 5, waveform, narrated.RATE
        )
        clips = [
            {"start_s": c.start_s, "end_s": c.end_s, "label": c.label}
            for c in record.clips
        ]
        line = {"id": record.id, "media": f"{number}.mp4", "language": "xx"}
        lines.append(json.dumps({**line, "clips": clips}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    for name, seed in (("before", 0), ("after", 1)):
        made_in, _ = index_model.make_run(
            folder / "made", records=f"{folder}/records/train", seed=seed
        )
        shutil.move(made_in, folder / name)
    return folder


def show(folder, *flags, out="page", models="before,after"):
    named = ",".join(f"{name}={folder}/{name}" for name in models.split(","))
    return run(
        "avl_tf.qualitative",
        f"--models={named}",
        f"--records={folder}/records/train",
        f"--manifest={folder}/manifest.jsonl",
        f"--out_dir={folder}/{out}",
        *flags,
    )


@pytest.fixture(scope="module")
def page(folder):
    done = show(folder, "--queries=r1@2.00-4.00,r3", "--direction=both")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}/page/index.html\n"
    return (folder / "page" / "index.html").read_text()


def cards(html):
    """(clip id, whether it is marked) of every card."""
    found = re.findall(r"<li( class=\"marked\")?>(.*?)</li>", html, re.DOTALL)
    return [
        (unescape(re.search(r"<p>([^<]+@[^<]+)</p>", card)[1]), bool(marked))
        for marked, card in found
    ]


def test_the_best_clips_are_those_of_the_models(folder, page):
    blocks = re.findall(
        r"<h3>(\w+): the right clip has rank (\d+) of 16</h3>\s*<ul(.*?)</ul>",
        page,
        re.DOTALL,
    )
    assert [name for name, _, _ in blocks] == 4 * ["before", "after"]
    blocks = blocks[:2] + blocks[4:6]  # between them V->A
    queries = 2 * ["r1@2.00-4.00"] + 2 * ["r3@0.00-2.00"]
    records = open_records(f"{folder}/records/train")
    for (name, rank, shown), query in zip(blocks, queries, strict=True):
        model = trained.look(f"{folder}/{name}")
        sets = {"x": model.as_read(records)}
        settled = evaluation.by_set(sets, model.evaluation)
        ((_, embedded),) = model.load().embed_sets(sets, settled, "stored")
        at = embedded.clip_ids.index(query)
        scores = embedded.embeddings["visual"] @ embedded.embeddings["audio"][at]
        best = [embedded.clip_ids[i] for i in np.argsort(-scores)[:5]]
        assert cards(shown) == [(clip_id, clip_id == query) for clip_id in best]
        assert int(rank) == np.count_nonzero(scores >= scores[at])


def test_what_the_page_names_lies_beside_it(folder, page):
    ways = set(re.findall(r'(?:src|poster)="([^"]+)"', page))
    assert len(ways) >= 6 and not any(":" in way for way in ways)
    assert all((folder / "page" / way).stat().st_size for way in ways)
    assert page.count("<h2>Query") == 4


def test_the_page_opens_from_its_folder(folder, page):
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("no chromium (Debian's package) here")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        tab = browser.new_page(viewport={"width": 360, "height": 780})
        wrong, asked = [], []
        tab.on("console", lambda said: wrong.append(said.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("requestfailed", lambda request: wrong.append(request.url))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(f"file://{folder}/page/index.html")
        tab.locator("video").first.evaluate("video => video.play()")
        tab.wait_for_function("document.querySelector('video').currentTime > 0")
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        browser.close()
    assert not wrong and all(url.startswith("file://") for url in asked)


def test_queries_are_drawn_or_named():
    ids = [f"r{i}@0.00-2.00" for i in range(40)]
    drawn = [exhibiting.choose(ids, ExhibitionConfig(seed=s)) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] == sorted(set(drawn[0])) and len(drawn[0]) == 8
    assert drawn[2] != drawn[0]
    assert len(exhibiting.choose(ids[:3], ExhibitionConfig())) == 3
    named = ExhibitionConfig(queries=("r7", " r3@0.00-2.00", "r7"))
    assert exhibiting.choose(ids, named) == [7, 3]
    unknown = ExhibitionConfig(queries=("r7@0.00-2.10",))
    with pytest.raises(UserError, match="r7@0.00-2.10'. The nearest are r7@0.00-2.00"):
        exhibiting.choose(ids, unknown)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--queries=r1@2.00-4.01"], "'r1@2.00-4.01'. The nearest are r1@2.00-4.00"),
        (["--manifest=m.jsonl"], "m.jsonl"),
        (["--models=a/seed0,b/seed0"], "a/seed0 and b/seed0 are both called 'seed0'"),
        (["--models=x="], "--models: expected PATH or NAME=PATH"),
        (["--models=gone"], "gone"),
    ],
    ids=str,
)
def test_what_is_not_there_is_told(folder, flags, message):
    fails_in_one_line(show(folder, *flags, out="bad"), message)
    assert not (folder / "bad").exists()


def test_media_that_are_gone_are_told(folder, tmp_path):
    text = (folder / "manifest.jsonl").read_text()
    (tmp_path / "moved.jsonl").write_text(text)
    manifest = f"--manifest={tmp_path}/moved.jsonl"
    done = show(folder, manifest, out="bad")
    fails_in_one_line(done, "no such media file")
    assert not (folder / "bad").exists()


def test_models_are_called_as_their_folders(tmp_path):
    both = ExhibitionConfig.named([str(tmp_path), f"late={tmp_path}"])
    assert list(both.values()) == 2 * [str(tmp_path)]
    named = ExhibitionConfig.named(["a/b/", "late=c/d"])
    assert named == {"b": "a/b/", "late": "c/d"}


@pytest.fixture(scope="module")
def projector(folder):
    """Written by the program, in place of an earlier one."""
    earlier = folder / "before" / "projector"
    earlier.mkdir()
    for name in ("projector_config.pbtxt", "earlier.tsv"):
        (earlier / name).write_text("")
    done = run(
        "avl_tf.evaluate",
        f"--run_dir={folder}/before",
        f"--output={folder}/out.json",
        f"--projector={earlier}",
        *("--resamples=5", f"--manifest=x={folder}/manifest.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    assert not (earlier / "earlier.tsv").exists()
    return earlier


def test_the_projector_has_points_metadata_and_pictures(folder, projector):
    assert (projector.parent / "run.json").exists()
    points = tf.train.load_variable(
        str(projector), "embeddings/.ATTRIBUTES/VARIABLE_VALUE"
    )
    assert points.shape == (32, 16)
    model = trained.look(f"{folder}/before")
    sets = {"x": model.as_read(open_records(f"{folder}/records/train"))}
    settled = evaluation.by_set(sets, model.evaluation)
    ((_, embedded),) = model.load().embed_sets(sets, settled, "stored")
    np.testing.assert_allclose(points[16:], embedded.embeddings["visual"], atol=1e-5)
    header, *rows = (projector / "metadata.tsv").read_text().splitlines()
    assert header.split("\t")[:3] == ["modality", "language", "label"]
    assert [row.split("\t")[0] for row in rows] == 16 * ["audio"] + 16 * ["visual"]
    assert [row.split("\t")[4] for row in rows[:16]] == list(embedded.clip_ids)
    assert {len(row.split("\t")) for row in rows} == {6}
    sprite = tf.io.decode_png((projector / "sprite.png").read_bytes()).numpy()
    assert sprite.shape == (6 * 48, 6 * 48, 3)
    # The 17th picture is the frame in the middle of the first clip.
    tile = sprite[2 * 48 : 3 * 48, 4 * 48 : 5 * 48].astype(float)
    (number,) = [n for n, i in enumerate(("r0", "r1", ODD)) if f"{i}@" in rows[0]]
    (frame,) = media.iter_frames(folder / f"{number}.mp4", 1, start_s=1.0, end_s=2.0)
    small = tf.image.resize(frame, [48, 48], antialias=True).numpy()
    assert np.abs(tile - small).mean() < 12
    assert "sprite.png" in (projector / "projector_config.pbtxt").read_text()
    assert list(projector.glob("events*"))


def test_the_projector_replaces_nothing_else(folder):
    done = run(
        "avl_tf.evaluate",
        f"--run_dir={folder}/before",
        f"--output={folder}/out.json",
        f"--projector={folder}/records",
    )
    fails_in_one_line(done, "there is something else already")


def test_the_matrix_is_drawn_with_its_scale():
    similarity = np.eye(300, dtype=np.float32)
    picture = similarity_image.draw(similarity, similarity)
    assert picture.shape == (400, 400 + 10 + 20, 3) and picture.dtype == np.uint8
    squares = picture[::2, :400:2]
    bright, dark = [253, 231, 37], [68, 1, 84]
    assert (squares[np.eye(200, dtype=bool)] == bright).all()
    assert (squares[~np.eye(200, dtype=bool)] == dark).all()
    assert (picture[0, -1] == bright).all() and (picture[-1, -1] == dark).all()
    same = np.ones((3, 2), np.float32)
    assert (similarity_image.draw(same, same)[:, :400] == dark).all()


def test_stages_are_drawn_one_behind_the_other(tmp_path):
    values = {"n": 4, "a2v/MedR": 1.0}
    history = [
        {
            "epoch": epoch,
            "sets": {"es": {**values, "a2v/R@10": 10.0 * epoch, "v2a/R@10": 0.0}},
        }
        for epoch in (0, 3)
    ]
    # Whatever stages are called, none writes into the folder of another.
    (tmp_path / "stages" / "checkpoints").mkdir(parents=True)
    for _ in range(2):  # a cascade that is resumed draws anew
        assert cascading.draw_stage(str(tmp_path / "checkpoints"), history, 7) == 10
    assert [path.name for path in tmp_path.glob("stages/*")] == ["checkpoints"]
    (folder,) = (tmp_path / "checkpoints").iterdir()
    events = EventAccumulator(str(folder), {"tensors": 0}).Reload()
    drawn = [
        (event.step, float(tf.make_ndarray(event.tensor_proto)))
        for event in events.Tensors("all stages/es/A->V R@10")
    ]
    assert drawn == [(7, 0.0), (10, 30.0)]
