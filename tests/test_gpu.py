"""What is chosen where TensorFlow has a GPU, asked for on a machine that has none.

Every place of the package that asks for GPUs is here or in test_processors.py.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from half_precision import refused
from programs import ROOT

from avl_tf import model
from avl_tf.comparing import running
from avl_tf.extraction import frame_batches
from avl_tf.model import ModelConfig, build_model
from avl_tf.trained import identity
from avl_tf.training import devices

_ASKING = r"list_(?:physical|logical)_devices\(\s*\"GPU\""


@pytest.fixture(params=[0, 2])
def n_gpus(request, monkeypatch):
    """A machine with so many GPUs, as far as TensorFlow is asked."""

    def listed(kind):
        n = request.param if kind == "GPU" else 1
        return [tf.config.LogicalDevice(f"/{kind}:{i}", kind) for i in range(n)]

    monkeypatch.setattr(tf.config, "list_physical_devices", listed)
    monkeypatch.setattr(tf.config, "list_logical_devices", listed)
    return request.param


def test_nothing_else_asks_for_gpus():
    asking = [
        str(path.relative_to(ROOT / "avl_tf"))
        for path in sorted((ROOT / "avl_tf").rglob("*.py"))
        if re.search(_ASKING, path.read_text())
    ]
    assert asking == [
        "extraction/frame_batches.py",
        "model/__init__.py",
        "processors.py",
        "trained/identity.py",
        "training/devices.py",
    ]


def test_kernels_devices_and_tolerance_are_chosen_by_what_is_there(n_gpus, monkeypatch):
    assert model.filters_well() == (n_gpus == 0)
    assert identity.has_gpu() == (n_gpus > 0)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: names)
    expected = [f"/GPU:{i}" for i in range(n_gpus)] or ["/CPU:0"]
    assert devices.strategy() == expected
    if n_gpus:
        assert running.default_at_once() == 1
    kept = {"audio_embedding": np.ones((1, 2), np.float32)}
    found = {"audio_embedding": np.full((1, 2), 1.005, np.float32)}
    assert bool(identity.difference(kept, found)) == (n_gpus == 0)


def test_frames_in_batches_of_a_gpu_have_the_same_features(n_gpus):
    class Mean:
        frames_per_feature = 1
        seen: list[int] = []

        def __call__(self, frames):
            self.seen.append(len(frames))
            return np.asarray(frames, np.float32).mean((1, 2))

    backbone = Mean()
    backbone.seen = []
    frames = np.random.default_rng(0).integers(0, 256, (35, 4, 4, 3), np.uint8)
    with ThreadPoolExecutor(1) as pool:
        batches = frame_batches.FrameBatches(backbone, pool, 1)
        for frame in frames:
            batches.put(frame)
        features = np.concatenate(batches.finish())
    np.testing.assert_allclose(features, frames.mean((1, 2)), rtol=1e-6)
    assert max(backbone.seen) == (32 if n_gpus else 4)


@pytest.mark.parametrize(
    "precision",
    [
        "off",
        pytest.param("float16", marks=refused("float16")),
        pytest.param("bfloat16", marks=refused("bfloat16")),
    ],
)
def test_the_direct_convolutions_of_a_gpu_embed_as_the_cpus_do(precision):
    config = ModelConfig((4,), audio_widths=(8, 8, 8, 8, 512), embedding_dim=8)
    random = np.random.default_rng(0)
    inputs = {
        "log_mel": random.uniform(-80, 0, (2, 64, 40)).astype(np.float32),
        "n_frames": np.array([64, 40], np.int32),
        "visual": random.uniform(0, 1, (2, 4)).astype(np.float32),
    }
    ours, direct = (
        build_model(config, mixed_precision=kind, minimal_filtering=filtered)
        for kind, filtered in (("off", True), (precision, False))
    )
    direct.set_weights(ours.get_weights())
    expected = ours(inputs, training=False)["audio_embedding"].numpy()
    found = direct(inputs, training=False)["audio_embedding"].numpy()
    limit = 1e-4 if precision == "off" else 0.1
    assert np.abs(found - expected).max() < limit * np.abs(expected).max()
