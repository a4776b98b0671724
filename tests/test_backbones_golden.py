"""The full-size CNNs against the authors' code (tests/data/README.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
import recipe_weights

from avl_tf.backbones import load_backbone
from avl_tf.records import AUTHORS_2D, AUTHORS_3D, FeatureSpec

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data"


def load_with_recipe(name, folder):
    shapes = json.loads((DATA / f"{name}_shapes.json").read_text())
    arrays = {
        key: recipe_weights.array(f"public/{name}", key, shape)
        for key, shape in shapes.items()
    }
    path = recipe_weights.write(folder / f"{name}.pth", arrays)
    try:
        return load_backbone(name, path)
    finally:
        path.unlink()  # 190 to 240 MB


def as_spec(backbone):
    rate_hz = backbone.fps / backbone.frames_per_feature
    return FeatureSpec(backbone.name, backbone.feature_dim, rate_hz)


def golden_features(name):
    with np.load(DATA / "cnn.npz") as arrays:
        return arrays[f"{name}/features"]


@pytest.fixture(scope="module")
def resnext101_3d(tmp_path_factory):
    return load_with_recipe("resnext101_3d", tmp_path_factory.mktemp("weights"))


def test_resnet152_matches_torchvision(tmp_path):
    backbone = load_with_recipe("resnet152", tmp_path)
    random = np.random.default_rng(5)
    frames = random.integers(0, 256, (2, 224, 299, 3), dtype=np.uint8)
    features = backbone(frames)
    expected = golden_features("resnet152")
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)
    assert (backbone.feature_dim, backbone.fps, backbone.crop) == (2048, 1, None)
    assert as_spec(backbone) == AUTHORS_2D


def test_resnext101_3d_matches_authors(resnext101_3d):
    random = np.random.default_rng(7)
    clips = random.integers(0, 256, (2, 16, 112, 112, 3), dtype=np.uint8)
    features = resnext101_3d(clips.reshape(32, 112, 112, 3))
    expected = golden_features("resnext101_3d")
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-3)
    assert as_spec(resnext101_3d) == AUTHORS_3D


def test_resnext101_3d_missing_frames_are_black(resnext101_3d):
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (70, 112, 112, 3), dtype=np.uint8)
    black = np.zeros((10, 112, 112, 3), np.uint8)
    features = resnext101_3d(frames)
    assert features.shape == (5, 2048)  # 64 frames go through at a time
    expected = resnext101_3d(np.concatenate([frames, black]))
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-4)
    last = resnext101_3d(frames[64:])
    np.testing.assert_allclose(features[4:], last, rtol=1e-4, atol=1e-3)


def test_resnext101_3d_wants_and_rejects(resnext101_3d):
    wants = resnext101_3d
    assert (wants.fps, wants.short_side, wants.crop) == (24, 112, 112)
    assert wants.frames_per_feature == 16
    assert wants(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 2048)
    with pytest.raises(ValueError, match="H and W 112.*cropped"):
        wants(np.zeros((16, 112, 149, 3), np.uint8))
