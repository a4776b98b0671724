"""What tells models apart: the digest and the golden pair."""

import dataclasses
import hashlib

import numpy as np
import pytest
import tensorflow as tf
from corpus import make_set

import avl_tf
from avl_tf import runs, serving, training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.records import FeatureSpec
from avl_tf.settings.stage import StageConfig
from avl_tf.trained import identity

CONFIG = ModelConfig((12,), audio_widths=(8, 8, 16), embedding_dim=16)
INFO = runs.RunInfo(
    CONFIG, FeatureSpec("drawn", 12, 1.0), None, "clip", "", "", ("xx",), None, True
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    stage = StageConfig(
        records=make_set(str(folder / "records")), epochs=0, batch_size=8
    )
    training.train_stage(
        str(folder / "run"), stage, ClipConfig(clip_s=2.0), EvaluationConfig(), CONFIG
    )
    return str(folder / "run")


def test_a_run_and_its_export_are_one_model(run_dir):
    run, export = avl_tf.load(run_dir), avl_tf.load(serving.export(run_dir))
    assert run.digest == export.digest and len(bytes.fromhex(run.digest)) == 32
    pair, other = run.golden(), export.golden()
    assert identity.difference(pair, other) == ""
    assert set(pair) == {
        *("log_mel", "n_frames", "visual"),
        *("audio_embedding", "visual_embedding"),
    }
    batch = {name: tf.constant(value) for name, value in pair.items()}
    for name, embedding in run.embed(batch).items():
        np.testing.assert_allclose(embedding, pair[f"{name}_embedding"], rtol=1e-5)


def _digest(info=INFO, **changes):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    variables = changes.pop("variables", [array])
    info = dataclasses.replace(info, **changes)
    return identity.digest(info, [tf.Variable(one) for one in variables])


def test_the_digest_is_of_weights_and_configuration():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    nudged = array.copy()
    nudged[1, 2] = np.nextafter(nudged[1, 2], 9, dtype=np.float32)
    scaled = dataclasses.replace(CONFIG, visual_scale=20.0)
    others = [
        _digest(variables=[nudged]),
        _digest(variables=[array.reshape(3, 2)]),
        _digest(variables=[array.reshape(6)]),
        _digest(variables=[array, array]),
        _digest(model=scaled),
        _digest(log_mel_reference="recording"),
        _digest(features_2d=FeatureSpec("painted", 12, 1.0)),
    ]
    assert len({_digest(), *others}) == 1 + len(others)
    # What a run was trained on, and where it stands, is no part of the model.
    assert _digest() == _digest(records="x", parent="y", languages=("es", "ro"))


def test_the_golden_input_is_the_same_for_ever():
    seen = dataclasses.replace(CONFIG, visual_dims=(), image_encoder="resnet18")
    made = identity.golden_inputs(dataclasses.replace(INFO, model=seen))
    assert made["image"].shape == (1, 224, 224, 3)
    for info in (INFO, dataclasses.replace(INFO, model=seen)):
        found = identity.golden_inputs(info)
        assert [str(value.dtype) for value in found.values()] == (
            ["float32", "int32", "float32" if info is INFO else "uint8"]
        )
    content = b"".join(value.tobytes() for value in made.values())
    assert hashlib.sha256(content).hexdigest()[:16] == "dbcf7a44d8caa65d"


def test_a_difference_is_told_by_branch_and_size():
    kept = {"log_mel": np.ones(9), "audio_embedding": np.array([[2.0, -4.0]])}
    assert identity.difference(kept, kept) == ""
    near = {"audio_embedding": kept["audio_embedding"] + 1e-4}
    assert identity.difference(kept, near) == ""
    for off, told in (
        (np.array([[2.0, -4.01]]), "audio_embedding is off by 0.0025 of its largest"),
        (np.array([[2.0, np.nan]]), "audio_embedding is off by nan"),
        (np.zeros((1, 3)), r"audio_embedding is [1, 3]"),
    ):
        assert told in identity.difference(kept, {"audio_embedding": off})
    assert identity.difference(kept, {}) == "audio_embedding is None"
