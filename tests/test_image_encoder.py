import json
import pathlib

import keras
import numpy as np
import pytest
import recipe_weights
import tensorflow as tf
from torch_resnet import TorchResNet, random_frames

from avl_tf.backbones import load_backbone
from avl_tf.backbones.trainable import Trainable
from avl_tf.model import ModelConfig, build_model, image_encoder

DATA = pathlib.Path(__file__).parent / "data"


def _unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def _write(folder, name="resnet18"):
    reference = TorchResNet(False, (2, 2, 2, 2))
    reference(random_frames(1, 32, 32))
    return reference, str(
        recipe_weights.write(folder / f"{name}.pth", reference.arrays)
    )


def test_an_encoder_with_weights_is_the_network_they_are_of(tmp_path):
    reference, path = _write(tmp_path)
    encoder = image_encoder.build("resnet18", Trainable())
    image_encoder.load_weights(encoder, "resnet18", path)
    crops = random_frames(2, 224, 224)
    expected = _unit(reference(crops))
    assert np.abs(encoder(crops, training=False) - expected).max() < 1e-5
    assert not np.allclose(encoder(crops, training=True), expected, atol=1e-3)


def test_efficientnet_has_the_frozen_features_weights():
    encoder = image_encoder.build("efficientnet_lite0", Trainable(initialize=False))
    image_encoder.load_weights(encoder, "efficientnet_lite0", "imagenet")
    crops = random_frames(2, 224, 224)
    expected = _unit(load_backbone("efficientnet_lite0")(crops))
    assert np.abs(encoder(crops, training=False) - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("resnet18", "imagenet", ValueError, "is for efficientnet_lite0"),
        ("resnet18", "no.pth", FileNotFoundError, "no.pth"),
        ("efficientnet_lite0", "{path}", ValueError, "does not hold the weights"),
    ],
)
def test_weights_that_do_not_fit_are_an_error(tmp_path, name, weights, error, message):
    _, path = _write(tmp_path)
    encoder = image_encoder.build(name, Trainable())
    with pytest.raises(error, match=message):
        image_encoder.load_weights(encoder, name, weights.format(path=path))


def test_a_narrow_encoder_has_no_place_for_weights(tmp_path):
    _, path = _write(tmp_path)
    encoder = image_encoder.build("resnet18", Trainable(width=0.5))
    assert encoder.output.shape == (None, 256)
    with pytest.raises(ValueError, match="conv1.weight has shape .*, expected"):
        image_encoder.load_weights(encoder, "resnet18", path)


def test_an_unknown_encoder_is_an_error():
    with pytest.raises(
        ValueError, match="--image_encoder=vgg: expected one of resnet18"
    ):
        image_encoder.build("vgg", Trainable())


def test_first_weights_are_he_et_als():
    keras.utils.set_random_seed(0)
    encoder = image_encoder.build("resnet18", Trainable()).get_layer("resnet18")
    kernel = encoder.get_layer("layer3.1.conv2").kernel.numpy()
    assert kernel.std() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
    zeros = image_encoder.build("resnet18", Trainable(initialize=False))
    kernels = [v.numpy() for v in zeros.trainable_variables if v.name == "kernel"]
    assert kernels and not any(kernel.any() for kernel in kernels)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_every_weight_learns(name):
    encoder = image_encoder.build(name, Trainable(width=0.125))
    crops = random_frames(4, 224, 224)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(crops, training=True)[:, 0])
    values = [variable.value for variable in encoder.trainable_variables]
    gradients = tape.gradient(loss, values)
    assert len(gradients) > 50 and all(g is not None for g in gradients)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.slow
def test_the_papers_encoder_is_built_and_used(tmp_path):
    shapes = json.loads((DATA / "resnet152_shapes.json").read_text())
    counted = [s for k, s in shapes.items() if k.endswith((".weight", ".bias"))]
    config = ModelConfig((), image_encoder="resnet152")
    model = build_model(config, initialize=False)
    encoder = model.get_layer(image_encoder.LAYER)
    n_found = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)
    n_classifier = 2048 * 1000 + 1000
    assert n_found + n_classifier == sum(int(np.prod(shape)) for shape in counted)
    arrays = {
        key: recipe_weights.array("public/resnet152", key, shape)
        for key, shape in shapes.items()
    }
    path = recipe_weights.write(tmp_path / "resnet152.pth", arrays)
    image_encoder.load_weights(encoder, "resnet152", str(path))
    crops = random_frames(2, 224, 224)
    expected = _unit(load_backbone("resnet152", path)(crops))
    path.unlink()
    assert np.abs(encoder(crops, training=False) - expected).max() < 1e-4
    inputs = {
        "log_mel": np.zeros((2, 96, 40), np.float32),
        "n_frames": np.full(2, 96, np.int32),
        "image": crops,
    }
    assert model(inputs)["visual_embedding"].shape == (2, 4096)
