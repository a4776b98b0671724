"""The signature of raw frames: an export with the CNN inside."""

import dataclasses

import corpus
import numpy as np
import pytest
import tensorflow as tf

import avl_tf
from avl_tf import media, runs, serving, training
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.records import FeatureSpec
from avl_tf.serving import frames
from avl_tf.settings.stage import StageConfig

LITE = FeatureSpec("efficientnet_lite0", 1280, 1.0)
CONFIG = ModelConfig((1280,), audio_widths=(8, 8, 16), embedding_dim=16)
INFO = runs.RunInfo(CONFIG, LITE, None, "clip", "", "", ("xx",), None, True)


def _noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "most"),
    [((300, 400), 2), ((401, 250), 2), ((100, 160), 12), ((224, 231), 0), ((1, 1), 0)],
)
def test_frames_are_scaled_as_media_scales_them(size, most):
    frame = _noise(*size, 3)
    (expected,) = media.pick_frames(frame[np.newaxis], 1, media.View(1, 224))
    found = frames.scale(tf.constant(frame), 224).numpy()
    assert found.shape == expected.shape
    off = np.abs(found.astype(int) - expected)
    assert off.max() <= most and (off > 1).mean() < 0.01


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"model": dataclasses.replace(CONFIG, image_encoder="resnet18")},
            "resnet18, which is in every export",
        ),
        ({"features_3d": FeatureSpec("resnext101_3d", 9, 1.5)}, "by resnext101_3d"),
        ({"features_2d": FeatureSpec("resnet18", 512, 1.0)}, "as --weights_2d=FILE"),
        (
            {"features_2d": FeatureSpec("efficientnet_lite0", 12, 1.0)},
            "records have 12",
        ),
    ],
)
def test_a_backbone_that_cannot_be_taken_in_is_told(changes, told):
    with pytest.raises(UserError, match=told):
        frames.backbone(dataclasses.replace(INFO, **changes))


def test_a_file_of_weights_that_is_not_there_is_told():
    with pytest.raises(FileNotFoundError, match="--weights_2d=none.pth: no such file"):
        frames.backbone(INFO, "none.pth")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    features = _noise(8, 1280).astype(np.float16) / 256
    made = [corpus.make_record(f"r{i}", features_2d=features) for i in range(2)]
    records = corpus.write_records(str(folder / "records"), made, features_2d=LITE)
    stage = StageConfig(records=records, epochs=0, batch_size=2)
    run_dir = str(folder / "run")
    training.train_stage(run_dir, stage, ClipConfig(), EvaluationConfig(), CONFIG)
    return serving.export(run_dir, with_backbone=True)


@pytest.mark.slow
def test_raw_frames_are_embedded_as_videos_are(export):
    embedder = avl_tf.load(export)
    signature = tf.saved_model.load(export).signatures["frames"]
    # Of the backbone's size, which leaves the rounding of features; and of another.
    for size, tolerance in (((224, 240), 1e-3), ((180, 250), 1e-2)):
        batch = _noise(2, 3, *size, 3)
        n_frames = np.array([3, 2], np.int32)
        found = signature(frames=batch, n_frames=n_frames)
        assert found["valid"].numpy().all()
        videos = [(batch[0], 1.0), (batch[1, :2], 1.0)]
        expected = embedder.embed_video(videos)
        off = np.abs(found["visual_embedding"] - expected).max()
        assert off <= tolerance * np.abs(expected).max()
    found = signature(frames=batch, n_frames=np.array([4, 3], np.int32))
    assert found["valid"].numpy().tolist() == [False, True]
    assert found["reason"].numpy()[0] == b"n_frames is 4, expected 1 to 3"
    for empty in (batch[:, :0], batch[:, :, :0], batch[:, :, :1]):
        found = signature(frames=empty, n_frames=n_frames)
        assert not found["valid"].numpy().any() and found["reason"].numpy().all()
    found = signature(frames=batch[:0], n_frames=n_frames[:0])
    assert found["visual_embedding"].shape == (0, 16)
