"""DAVEnet and its matchmaps, against the authors' own outputs."""

import dataclasses
import gc
import io
import pathlib
import shutil
import weakref

import corpus
import keras
import numpy as np
import pytest
import recipe_weights
import tensorflow as tf
from made_media import make_media, numbered, sine
from offline_pages import browser, opened, read_textgrid
from PIL import Image

from avl_tf import evaluation, metrics, model, runs, serving, trained, training
from avl_tf.commands import localizing
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig, map_ranks
from avl_tf.localizing import Matched, localize
from avl_tf.losses import ranking
from avl_tf.manifest import write_manifest
from avl_tf.model import ModelConfig, audio_steps, matchmaps
from avl_tf.model.davenet import davenet
from avl_tf.model.heads import MeanPool
from avl_tf.records import open_records
from avl_tf.retrieval.embedding import RecordEmbedder
from avl_tf.settings.localization import LocalizationConfig
from avl_tf.settings.stage import StageConfig

__all__ = ["browser"]  # a fixture
GOLDEN = np.load(pathlib.Path(__file__).parent / "data" / "davenet.npz")
NARROW = (12, 16, 20, 24, 28)
WIDTHS = (128, 256, 512, 512, 1024)


def _encoder(widths, weight_of):
    """DAVEnet with the authors' weights; weight_of(key, shape) gives them."""
    log_mel = keras.Input((None, 40))
    built = keras.Model(log_mel, davenet(log_mel, widths))
    norm = [f"batchnorm1.{key}" for key in ("weight", "bias")]
    norm += [f"batchnorm1.running_{key}" for key in ("mean", "var")]
    built.get_layer("davenet_bn").set_weights([weight_of(key, (1,)) for key in norm])
    sizes = [
        (1, 40, 1),
        *((w, 1, k) for w, k in zip(widths[:4], (11, 17, 17, 17), strict=True)),
    ]
    both = zip(widths, sizes, strict=True)
    for place, (width, (n_in, high, wide)) in enumerate(both, 1):
        kernel = weight_of(f"conv{place}.weight", (width, n_in, high, wide))
        if place == 1:
            kernel = kernel.transpose(0, 2, 1, 3)  # 40 mel bins as channels
        bias = weight_of(f"conv{place}.bias", (width,))
        layer = built.get_layer(f"davenet_conv{place}")
        layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])
    return built


def _equal(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_davenet_equals_the_authors():
    built = _encoder(NARROW, lambda key, shape: GOLDEN[f"weights/{key}"])
    log_mel = GOLDEN["log_mel"].transpose(0, 2, 1)
    in_time = GOLDEN["audio_map_eval"].transpose(0, 2, 1)
    _equal(built(log_mel), in_time)
    in_training = GOLDEN["audio_map_train"].transpose(0, 2, 1)
    _equal(built(log_mel, training=True), in_training)
    *_, mean, variance = built.get_layer("davenet_bn").get_weights()
    _equal(mean, GOLDEN["after_train/running_mean"])
    _equal(variance, GOLDEN["after_train/running_var"])


def test_davenet_of_full_width_equals_the_authors():
    built = _encoder(
        WIDTHS, lambda *what: recipe_weights.array("public/davenet", *what)
    )
    found = built(GOLDEN["full/log_mel"].transpose(0, 2, 1))
    _equal(found, GOLDEN["full/audio_map_eval"].transpose(0, 2, 1))


@pytest.mark.parametrize("n_frames", [9, 15, 16, 17, 33, 200, 449])
def test_davenet_has_a_step_every_sixteen_frames(n_frames):
    log_mel = keras.Input((None, 40))
    built = keras.Model(log_mel, davenet(log_mel, (4, 4, 4, 4, 6)))
    found = built(np.zeros([2, n_frames, 40], np.float32))
    assert found.shape == (2, -(-n_frames // 16), 6)
    taken, _ = MeanPool.steps(np.array([n_frames] * 2), n_frames, found.shape[1])
    assert int(taken) == 16


def test_davenet_is_an_audio_encoder_of_its_authors_widths():
    config = ModelConfig((6,), audio_encoder="davenet", embedding_dim=8)
    assert config.widths == WIDTHS
    made = model.build_model(dataclasses.replace(config, audio_widths=(4, 5, 6, 7, 8)))
    assert made.get_layer("davenet_conv5").kernel.shape == (1, 17, 7, 8)
    for change, said in (
        ({"audio_widths": (8, 8, 16)}, "an --audio_widths of 5 numbers"),
        ({"audio_attention": True}, "--audio_attention is for"),
    ):
        with pytest.raises(UserError, match=said):
            model.build_model(dataclasses.replace(config, **change))


def _match(name):
    """The golden maps in our order of axes, and the stored array of that name."""
    images = GOLDEN["match/image_maps"].transpose(0, 2, 3, 1)
    audio = GOLDEN["match/audio_maps"].transpose(0, 2, 1)
    n_steps = GOLDEN["match/n_frames"].astype(np.int32)
    return images, audio, n_steps, GOLDEN[f"match/{name}"]


def _close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", matchmaps.KINDS)
def test_similarities_equal_the_authors(kind):
    images, audio, n_steps, wanted = _match(f"similarity/{kind.upper()}")
    found = matchmaps.similarity(images, audio, n_steps, kind)
    _close(found, wanted.T)
    pairs = GOLDEN["match/pairs"]
    _close(found.numpy()[pairs[:, 1], pairs[:, 0]], _match(f"scores/{kind.upper()}")[3])
    for direction, rows in (("A", wanted), ("I", wanted.T)):
        ranks = metrics.ranks(rows)
        for k in (1, 5, 10):
            authors = float(GOLDEN[f"match/recalls/{kind.upper()}/{direction}_r{k}"])
            assert metrics.recall_at_k(ranks, k) == pytest.approx(authors)


def test_similarities_of_the_encoders_maps_equal_the_authors():
    images = GOLDEN["image_maps"].transpose(0, 2, 3, 1)
    audio = GOLDEN["audio_map_eval"].transpose(0, 2, 1)
    for kind in matchmaps.KINDS:
        n_steps = GOLDEN["n_frames_out"].astype(np.int32)
        found = matchmaps.similarity(images, audio, n_steps, kind)
        _close(found, GOLDEN[f"similarity/{kind.upper()}"].T)


def test_matchmaps_equal_the_authors():
    images, audio, n_steps, _ = _match("pairs")
    for image, caption in GOLDEN["match/pairs"]:
        n = max(1, n_steps[caption])
        found = matchmaps.matchmap(images[image], audio[caption][:n])
        _close(found, GOLDEN[f"match/matchmap_{image}_{caption}"])
    everything = matchmaps.matchmap(images[0], audio[3])
    _close(everything, GOLDEN["match/matchmap_all_frames_0_3"])


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("kind", matchmaps.KINDS)
def test_rank_losses_and_gradients_equal_the_authors(kind, in_graph):
    images, audio, n_steps, value = _match(f"rank_loss/{kind.upper()}/value")
    drawn = [
        GOLDEN[f"match/rank_loss/{kind.upper()}/imposter_{side}"]
        for side in ("image", "audio")
    ]

    def differentiate(images, audio):
        with tf.GradientTape() as tape:
            tape.watch((images, audio))
            found = matchmaps.similarity(images, audio, n_steps, kind)
            loss = ranking.triplet(found, "random", 1.0, imposters=drawn)
        return loss, *tape.gradient(loss, (images, audio))

    run = tf.function(differentiate) if in_graph else differentiate
    loss, of_images, of_audio = run(tf.constant(images), tf.constant(audio))
    assert float(loss) == pytest.approx(value.item(), rel=1e-5)
    folder = f"rank_loss/{kind.upper()}/grad"
    _close(of_images, _match(f"{folder}_image_maps")[3].transpose(0, 2, 3, 1))
    _close(of_audio, _match(f"{folder}_audio_maps")[3].transpose(0, 2, 1))


def test_steps_behind_the_end_have_no_influence():
    random = np.random.default_rng(0)
    images = random.standard_normal((3, 2, 2, 4))
    audio = random.standard_normal((2, 5, 4))
    for n in (0, 1, 3, 5):
        kept = max(1, n)
        products = np.einsum("bhwd,atd->abhwt", images, audio[:, :kept])
        wanted = {
            "sisa": products.mean((2, 3, 4)),
            "misa": products.max((2, 3)).mean(2),
            "sima": products.max(4).mean((2, 3)),
        }
        behind = audio.copy()
        behind[:, kept:] = np.nan
        for kind in matchmaps.KINDS:
            found = matchmaps.similarity(images, behind, np.array([n, n]), kind)
            assert found.dtype == "float32"
            _close(found, wanted[kind])
            halves = (each.astype(np.float16) for each in (images, behind))
            found = matchmaps.similarity(*halves, np.array([n, n]), kind)
            assert found.dtype == "float32"
            np.testing.assert_allclose(found, wanted[kind], rtol=0, atol=0.01)


def test_a_tape_holds_no_matchmaps(monkeypatch):
    images, audio = tf.ones((2, 3, 3, 4)), tf.ones((2, 5, 4))
    products, greatest = [], tf.reduce_max

    def kept(values, **kwargs):
        products.append(weakref.ref(values))
        return greatest(values, **kwargs)

    monkeypatch.setattr(tf, "reduce_max", kept)
    with tf.GradientTape() as tape:
        tape.watch((images, audio))
        matchmaps.similarity(images, audio, [5, 3], "misa")
        gc.collect()
        assert [one() for one in products] == [None, None]


def test_maps_that_do_not_fit_are_an_error():
    images, audio = np.zeros((2, 3, 3, 4)), np.zeros((2, 5, 4))
    for changed, said in (
        ((images[0], audio, "misa"), "expected maps"),
        ((images, audio[0], "misa"), "expected maps"),
        ((images[..., :3], audio, "misa"), "of one width"),
        ((images, audio, "mima"), "expected sisa, misa, sima"),
    ):
        *both, kind = changed
        with pytest.raises(ValueError, match=said):
            matchmaps.similarity(*both, [5, 5], kind)


@pytest.mark.parametrize("kind", ["misa", "sima"])
def test_ranks_are_those_of_the_matrix_and_equal_maps_tie(kind):
    random, n = np.random.default_rng(0), 40
    audio = random.standard_normal((n, 5, 7)).astype(np.float32)
    audio[..., -1] = np.arange(5) < random.integers(1, 6, (n, 1))
    regions = random.standard_normal((n, 9, 6)).astype(np.float32)
    matrix = matchmaps.of_embeddings(audio, regions, kind).numpy()
    found = map_ranks.ranks(audio, regions, kind)
    assert found["a2v"].tolist() == metrics.ranks(matrix).tolist()
    assert found["v2a"].tolist() == metrics.ranks(matrix.T).tolist()
    same = map_ranks.ranks(audio[:1].repeat(n, 0), regions[:1].repeat(n, 0), kind)
    assert set(same["a2v"]) == set(same["v2a"]) == {n}


def test_settings_that_maps_have_no_use_for_are_an_error():
    good = ModelConfig(
        (),
        audio_encoder="davenet",
        audio_widths=(4, 4, 4, 4, 8),
        embedding_dim=8,
        image_encoder="resnet18",
        similarity="misa",
    )
    for change, said in (
        ({"image_encoder": "", "visual_dims": (6,)}, "--keep_images"),
        ({"embedding_dim": 4}, "must be the last of --audio_widths, 8"),
        ({"visual_scale": 20.0}, "no heads for --visual_scale"),
        ({"audio_head": "linear"}, "no heads for --audio_head"),
        ({"normalize_embeddings": True}, "no heads for --normalize_embeddings"),
        ({"languages": ("es", "ro")}, "name one language"),
    ):
        with pytest.raises(UserError, match=said):
            model.build_model(dataclasses.replace(good, **change))


def test_sisa_embeds_clips_as_vectors_and_steps_as_they_are_heard():
    config = ModelConfig(
        (),
        audio_encoder="davenet",
        audio_widths=(4, 4, 8, 8, 8),
        embedding_dim=8,
        image_encoder="resnet18",
        image_width=0.0625,
        similarity="sisa",
    )
    built, random = model.build_model(config), np.random.default_rng(0)
    heard = {
        "log_mel": tf.constant(random.uniform(-80, 0, (2, 96, 40)), tf.float32),
        "n_frames": tf.constant([96, 40]),
    }
    image = random.integers(0, 256, (2, 224, 224, 3), np.uint8)
    layers = [built.get_layer(name).output for name in ("audio_map", "image_map")]
    both = keras.Model(built.input, [built.output, layers])
    out, (audio_map, image_map) = both({**heard, "image": tf.constant(image)})
    wanted = matchmaps.similarity(image_map, audio_map, [6, 2], "sisa")
    audio, visual = (out[f"{side}_embedding"] for side in ("audio", "visual"))
    _close(tf.matmul(audio, visual, transpose_b=True), wanted)
    steps = audio_steps.build(built, "audio")(heard)
    _close(steps["audio_embedding"], audio)
    _close(steps["audio_steps"], audio_map)


def test_spans_are_runs_above_the_threshold_with_the_box_around_them():
    found = np.zeros((3, 4, 8), np.float32)
    found[1, 2, 2:4], found[2, 1, 3], found[0, 0, 6] = 0.7, 1.0, 0.6
    found[0, 3, 5] = 0.59
    first, second = localize(found, 0.6)
    assert first[:6] == (2, 3, 1, 1, 2, 2) and first.value == 1
    assert second[:6] == (6, 6, 0, 0, 0, 0)
    one = Matched("c", found, 0, 0, 1, 0.1, [first, second], [], "", "")
    assert one.box(first) == pytest.approx(
        {"top": 1 / 3, "left": 1 / 4, "bottom": 1, "right": 3 / 4}
    )
    assert one.region(first) == "top 0.33, left 0.25, bottom 1.00, right 0.75 (1)"
    assert localize(-found, 0.6) == []


N = 6


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A run of two steps by matchmaps, its records and their manifest."""
    folder = tmp_path_factory.mktemp("matchmaps")
    made, lines = [], []
    for number in range(N):
        picture = io.BytesIO()
        Image.fromarray(numbered(number, 64, 64)).save(picture, "jpeg")
        record = corpus.make_record(f"r<{number}>", 2, number, clips=())
        within = {"start_s": 1.0, "end_s": 3.0}
        changes = {"image": picture.getvalue(), "features_2d": None, **within}
        made.append(dataclasses.replace(record, **changes))
        make_media(folder / f"{number}.wav", sound=sine(3.0), audio_codec="pcm_s16le")
        words = [{"word": "<b>dog</b>", "start_s": 0.5, "end_s": 0.9}]
        line = {"id": f"r<{number}>", "media": f"{number}.wav", "language": "xx"}
        lines.append({**line, **within, "labels": {"words": words}})
    path = corpus.write_records(str(folder), made, images=True, features_2d=None)
    manifest = str(folder / "manifest.jsonl")
    write_manifest(manifest, lines)
    stage = StageConfig(records=path, epochs=2, batch_size=N, loss="triplet")
    config = ModelConfig(
        (),
        audio_encoder="davenet",
        audio_widths=(4, 4, 8, 8, 8),
        embedding_dim=8,
        image_encoder="resnet18",
        image_width=0.0625,
        similarity="misa",
    )
    run_dir = str(folder / "run")
    evaluated = EvaluationConfig((f"x={path}",), evaluation_clip_s=2.0)
    clips = ClipConfig(clip_sampling="whole", clip_s=2.0)
    found = training.train_stage(run_dir, stage, clips, evaluated, config)
    return run_dir, path, manifest, found


@pytest.fixture(scope="module")
def shown(trained_run, tmp_path_factory):
    """A page of three of its clips."""
    folder = tmp_path_factory.mktemp("page") / "shown"
    run_dir, path, manifest, _ = trained_run
    config = LocalizationConfig(n=3, threshold=0.9)
    localizing.show(run_dir, path, manifest, str(folder), config)
    return folder


def test_a_run_is_evaluated_by_its_matchmaps(trained_run):
    run_dir, path, _, found = trained_run
    look = trained.look(run_dir)
    sets = {"x": look.as_read(open_records(path))}
    settled = evaluation.by_set(sets, look.evaluation)
    ((_, embedded),) = look.load().embed_sets(sets, settled, "stored")
    assert embedded.embeddings["audio"].shape == (N, 13, 9)
    assert embedded.embeddings["visual"].shape == (N, 49, 8)
    assert embedded.ranked().metrics() == found["history"][-1]["sets"]["x"]
    matrix = matchmaps.of_embeddings(*embedded.embeddings.values(), "misa").numpy()
    assert embedded.ranked().ranks["a2v"].tolist() == metrics.ranks(matrix).tolist()


def test_what_needs_a_vector_refuses_a_model_of_maps(trained_run):
    run_dir = trained_run[0]
    for use in (trained.load, serving.export, RecordEmbedder):
        with pytest.raises(UserError, match="embeds a clip as a map"):
            use(run_dir)


def test_the_page_has_the_maps_of_the_model(shown, trained_run):
    run_dir, path, _, _ = trained_run
    maps = np.load(shown / "matchmaps.npz")
    assert len(maps) == 3
    look = trained.look(run_dir)
    sets = {"x": look.as_read(open_records(path))}
    settled = evaluation.by_set(sets, look.evaluation)
    ((_, embedded),) = look.load().embed_sets(sets, settled, "stored")
    for clip_id in maps:
        place = embedded.clip_ids.index(clip_id)
        audio, regions = (embedded.embeddings[k][place] for k in ("audio", "visual"))
        n = int(audio[:, -1].sum())
        wanted = np.einsum("pd,td->pt", regions, audio[:n, :-1]).reshape(7, 7, n)
        np.testing.assert_allclose(maps[clip_id], wanted, rtol=1e-4, atol=1e-5)
    lines = (shown / "spans.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["clip_id", "start_s", "end_s"]
    grids = sorted((shown / "textgrid").iterdir())
    assert len(grids) == len(list((shown / "webvtt").iterdir())) == 3
    end, tiers = read_textgrid(grids[0].read_text())
    assert end == pytest.approx(3.0, abs=0.02)
    assert (1.5, 1.9, "<b>dog</b>") in tiers["words"]
    named = [one for one in tiers["matchmap"] if one[2]]
    listed = [tuple(map(float, line.split("\t")[3:])) for line in lines[1:]]
    assert named
    for *_, text in named:
        box, score = text.removesuffix(")").split(" (")
        form = "top {:.2f}, left {:.2f}, bottom {:.2f}, right {:.2f}"
        scores = [one[-1] for one in listed if form.format(*one) == box]
        # Both files round it, to digits of their own.
        assert any(float(score) == pytest.approx(one, rel=0.006) for one in scores)
    text = (shown / "index.html").read_text()
    assert "&lt;b&gt;dog" in text and "<b>dog" not in text
    assert "<h2>r<" not in text


def test_the_page_works_offline(shown, browser):
    for width in (360, 1200):
        with opened(browser, shown / "index.html", width) as page:
            slider = page.locator(".matchmap input").first
            line = page.locator(".curve line").first
            pixel = (
                "c => Math.max(...c.getContext('2d').getImageData(0, 0, 7, 7).data"
                ".filter((_, i) => i % 4 == 3))"
            )
            # It opens at the best step, whose best place is all but opaque.
            assert page.locator("canvas").first.evaluate(pixel) >= 190
            slider.focus()
            page.keyboard.press("Home")
            # Of the media, as the moments below.
            assert page.locator(".matchmap output").first.inner_text() == "1.00 s"
            assert page.locator(".stills figcaption").first.inner_text() == "1.00 s"
            first = line.get_attribute("x1")
            page.keyboard.press("ArrowRight")
            assert float(line.get_attribute("x1")) > float(first)
            assert page.locator(".stills image").count() == 18


def test_what_cannot_be_shown_is_said(trained_run, tmp_path):
    run_dir, path, manifest, _ = trained_run
    out = str(tmp_path / "out")
    config = LocalizationConfig(recordings=("none",))
    with pytest.raises(UserError, match="has no record none"):
        localizing.show(run_dir, path, manifest, out, config)
    other = tmp_path / "other.jsonl"
    write_manifest(str(other), [{"id": "a", "media": "a.wav"}])
    with pytest.raises(UserError, match="records are not in it"):
        localizing.show(run_dir, path, str(other), out, LocalizationConfig())
    info = runs.read_info(run_dir)
    dot = dataclasses.replace(info.model, similarity="dot")
    runs.write_info(out, dataclasses.replace(info, model=dot))
    shutil.copytree(f"{run_dir}/checkpoints", f"{out}/checkpoints")
    with pytest.raises(UserError, match="has no matchmaps"):
        localizing.show(out, path, "", str(tmp_path / "page"), LocalizationConfig())
    assert not (tmp_path / "page").exists()
