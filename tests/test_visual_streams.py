"""Which streams of features a model sees by, and what stands for a clip of them."""

import dataclasses

import corpus
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import dataset, runs, serving, training
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.records import FeatureSpec, open_records
from avl_tf.settings.stage import StageConfig

MOTION = FeatureSpec("moved", 5, 1.5)
CONFIG = ModelConfig((12, 5), audio_widths=(8, 8), embedding_dim=8)


@pytest.fixture(scope="module")
def made():
    found = []
    for number in range(4):
        record = corpus.make_record(f"r{number}")
        random = np.random.default_rng(number)
        motion = random.normal(size=(12, 5)).astype(np.float16)
        found.append(dataclasses.replace(record, features_3d=motion))
    return found


@pytest.fixture(scope="module")
def path(made, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("streams"))
    return corpus.write_records(folder, made, features_3d=MOTION)


def _unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("streams", ["all", "2d", "3d"])
@pytest.mark.parametrize("pooling", ["max", "center"])
def test_a_clip_is_seen_as_the_model_sees(made, path, streams, pooling):
    config = dataclasses.replace(CONFIG, visual_streams=streams, visual_pooling=pooling)
    read = runs.as_read(open_records(path), config)
    assert read.spec.visual_dims == {"all": (12, 5), "2d": (12,), "3d": (5,)}[streams]
    by_name = {record.id: record for record in made}
    clips = ClipConfig(clip_s=3.0, clips_per_recording=4)
    for batch in (
        *dataset.evaluation_batches(read, 2.0, 4),
        next(iter(dataset.train_batches(read, clips, 16, 0))),
    ):
        for clip_id, found in zip(
            batch["clip_id"].numpy(), batch["visual"], strict=True
        ):
            name, span = clip_id.decode().split("@")
            start, end = map(float, span.split("-"))
            wanted = []
            for rate, kind in ((1.0, "2d"), (1.5, "3d")):
                if streams not in ("all", kind):
                    continue
                steps = getattr(by_name[name], f"features_{kind}").astype(np.float32)
                window = steps[int(rate * start) : int(rate * end) + 1]
                # An 8 s clip at one step a second shows 0 to 8: its fourth second.
                centre = window[(len(window) - 1) // 2]
                wanted.append(_unit(window.max(0) if pooling == "max" else centre))
            np.testing.assert_allclose(found, np.concatenate(wanted), atol=1e-3)


def test_the_centre_of_arrays_is_that_of_their_lengths():
    windows = tf.reshape(tf.range(24.0), [2, 6, 2])
    masks = tf.sequence_mask([5, 2], 6)
    found = dataset.pool_features([windows], [masks], "center")
    expected = [_unit(windows[0, 2]), _unit(windows[1, 0])]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def _train(run_dir, path, init_from=None, **changes):
    stage = StageConfig(records=path, epochs=1, batch_size=8)
    base = training.base_model_config(stage, init_from)
    if not init_from:
        base = dataclasses.replace(base, audio_widths=(8, 8), embedding_dim=8)
    training.train_stage(
        str(run_dir),
        stage,
        ClipConfig(clip_s=2.0, clips_per_recording=4),
        EvaluationConfig((f"x={path}",), evaluation_clip_s=2.0),
        dataclasses.replace(base, **changes),
        init_from,
    )


def test_a_run_and_its_export_know_what_they_see_by(path, tmp_path):
    _train(tmp_path / "run", path, visual_streams="3d", visual_pooling="center")
    run_dir = str(tmp_path / "run")
    info = runs.read_info(run_dir)
    assert info.model.visual_dims == (5,) and info.features_2d is None
    assert info.model.visual_pooling == "center"
    serving.export(run_dir)  # checks its signatures against the model
    loaded = tf.saved_model.load(f"{run_dir}/export/1")
    features = loaded.signatures["features"]
    assert set(features.structured_input_signature[1]) == {"features_3d", "n_3d"}
    windows = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    found = features(features_3d=windows, n_3d=tf.constant([7, 4]))
    centre = np.stack([_unit(windows[0, 3]), _unit(windows[1, 1])])
    one = loaded.signatures["visual"](visual=centre)
    np.testing.assert_allclose(
        found["visual_embedding"], one["visual_embedding"], atol=1e-6
    )
    # A later stage takes it over from its parent.
    _train(tmp_path / "next", path, run_dir)
    after = runs.read_info(str(tmp_path / "next"))
    assert after.model == info.model


def test_records_without_the_stream_are_told_in_a_line(path, tmp_path):
    plain = corpus.make_set(str(tmp_path / "plain"), n_recordings=4)
    said = "has no features_3d, which .*--visual_streams=3d sees by; it has features_2d"
    with pytest.raises(UserError, match=said) as caught:
        _train(tmp_path / "run", plain, visual_streams="3d")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
    _train(tmp_path / "flat", plain)
    with pytest.raises(UserError, match="features_3d"):
        _train(tmp_path / "next", path, str(tmp_path / "flat"), visual_streams="all")
    # Of the same stream, records that have more are as good.
    _train(tmp_path / "next", path, str(tmp_path / "flat"), visual_streams="2d")
