"""DAVEnet and its matchmaps, against the authors' own outputs."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import recipe_weights
import tensorflow as tf

from avl_tf import metrics, model
from avl_tf.errors import UserError
from avl_tf.losses import ranking
from avl_tf.model import ModelConfig, matchmaps
from avl_tf.model.davenet import davenet

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


@pytest.mark.parametrize("n_frames", [1, 15, 16, 17, 33])
def test_davenet_has_a_step_every_sixteen_frames(n_frames):
    log_mel = keras.Input((None, 40))
    built = keras.Model(log_mel, davenet(log_mel, (4, 4, 4, 4, 6)))
    found = built(np.zeros([2, n_frames, 40], np.float32))
    assert found.shape == (2, -(-n_frames // 16), 6)


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
