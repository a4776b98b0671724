"""A trainable image encoder from records to recall, resumed, evaluated and exported."""

import dataclasses
import io

import corpus
import numpy as np
import pytest
import tensorflow as tf
from interrupted import assert_goes_on_to_the_same_weights
from PIL import Image

from avl_tf import (
    dataset,
    evaluation,
    images,
    runs,
    serving,
    trained,
    training,
)
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig, branch
from avl_tf.records import FeatureSpec, open_records
from avl_tf.settings.stage import StageConfig

N = 12
CLIPS = ClipConfig(clip_sampling="whole", clip_s=2.0)
TINY = {
    "audio_widths": (16, 16, 32),
    "embedding_dim": 32,
    "image_encoder": "resnet18",
    "image_width": 0.125,
    "visual_scale": 20.0,
}


def _jpeg(number, size=(64, 48)):
    """A stripe of a colour of its own on another colour."""
    random = np.random.default_rng(number)
    picture = Image.new("RGB", size, tuple(random.integers(0, 256, 3)))
    picture.paste(tuple(random.integers(0, 256, 3)), (0, 12, size[0], 36))
    out = io.BytesIO()
    picture.save(out, "jpeg", quality=95)
    return out.getvalue()


def _record(number, **changes):
    """An image and two seconds of a sound of its own."""
    log_mel = np.random.default_rng(number).uniform(-80, -60, (201, 40))
    log_mel[:, 3 * number : 3 * number + 3] += 50
    record = corpus.make_record(f"r{number}", log_mel=log_mel.astype(np.float16))
    changes = {"clips": (), "end_s": 2.0, "image": _jpeg(number), **changes}
    return dataclasses.replace(record, **changes)


def _write(folder, features=False, **changes):
    made = [_record(number, **changes) for number in range(N)]
    spec = {"images": True}
    if not features:
        made = [dataclasses.replace(record, features_2d=None) for record in made]
        spec["features_2d"] = None
    return corpus.write_records(str(folder), made, **spec)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("images"))


def _train(run_dir, records, init_from=None, evaluate=None, model=TINY, **changes):
    after_evaluation = changes.pop("after_evaluation", lambda entry: None)
    settings = {"epochs": 2, "batch_size": 6, **changes}
    stage = StageConfig(records=records, **settings)
    base = training.base_model_config(stage, init_from)
    evaluated = EvaluationConfig((f"x={evaluate or records}",), evaluation_clip_s=2.0)
    config = dataclasses.replace(base, **model)
    return training.train_stage(
        str(run_dir), stage, CLIPS, evaluated, config, init_from, after_evaluation
    )


@pytest.fixture(scope="module")
def parent(records, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run") / "parent"
    settings = {"epochs": 50, "batch_size": N, "final_learning_rate": 1e-4}
    return str(run_dir), _train(run_dir, records, evaluate_every=50, **settings)


@pytest.mark.slow
def test_it_learns_to_find_its_images(parent):
    first, last = (entry["sets"]["x"] for entry in parent[1]["history"])
    for direction in ("a2v", "v2a"):
        assert first[f"{direction}/R@1"] <= 25  # chance is 8
        assert last[f"{direction}/R@1"] >= 60
    info = runs.read_info(parent[0])
    assert (info.model.visual_dims, info.features_2d) == ((), None)


def test_crops_are_drawn_anew_for_every_window_and_epoch(tmp_path):
    path = corpus.write_records(
        str(tmp_path), [corpus.make_record("r0", image=_jpeg(0))], 1, images=True
    )
    clips = ClipConfig(clip_s=2.0, clips_per_recording=3)
    arguments = (open_records(path), clips, 3, 0)
    first, again = (
        [batch["image"].numpy() for batch in dataset.train_batches(*arguments).take(2)]
        for _ in range(2)
    )
    assert first[0].shape == (3, 224, 224, 3) and first[0].dtype == np.uint8
    crops = np.concatenate(first)
    assert len(np.unique(crops.reshape(6, -1), axis=0)) == 6
    assert np.array_equal(crops, np.concatenate(again))
    (tail,) = dataset.train_batches(*arguments, first_step=1).take(1)
    assert np.array_equal(tail["image"], first[1])


def test_evaluation_sees_the_middle_for_every_clip(tmp_path):
    path = corpus.write_records(
        str(tmp_path), [corpus.make_record("r0", image=_jpeg(0))], 1, images=True
    )
    (batch,) = dataset.evaluation_batches(open_records(path), 2.0, 64)
    expected = images.centre_crop(images.decode_jpeg(_jpeg(0)))
    assert len(batch["image"]) == len(batch["visual"]) == 4
    for crop in batch["image"]:
        assert np.array_equal(crop, expected)


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(records, tmp_path):
    def train(run_dir, after_evaluation):
        return _train(run_dir, records, after_evaluation=after_evaluation)

    assert_goes_on_to_the_same_weights(train, tmp_path, stop_at=2)


@pytest.mark.slow
def test_a_child_starts_from_its_parents_encoder(parent, records, tmp_path):
    child = _train(tmp_path / "child", records, parent[0], model={}, epochs=0)
    assert child["history"][0]["sets"] == parent[1]["history"][-1]["sets"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch": 3},
        {"mixed_precision": "bfloat16"},
        {"ema_decay": 0.9},
        {"jit_compile": True},
        {"sync_batch_norm": True},
    ],
)
def test_every_way_of_training_takes_images(records, tmp_path, changes):
    result = _train(tmp_path / "run", records, **changes)
    assert len(result["history"]) == 3
    model, _ = runs.load_model(str(tmp_path / "run"))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.slow
def test_an_export_takes_images_and_files_of_them(parent, records):
    run_dir, result = parent
    path = serving.export(run_dir)
    loaded = tf.saved_model.load(path).signatures
    assert {"image", "image_bytes", "wav_bytes"} <= set(loaded)
    assert not {"visual", "features"} & set(loaded)
    model, _ = runs.load_model(run_dir)
    png = io.BytesIO()
    Image.open(io.BytesIO(_jpeg(1))).resize((500, 300)).save(png, "png")
    contents = [_jpeg(0), png.getvalue()]
    crops = [images.centre_crop(images.decode(one)) for one in contents]
    expected = branch(model, "visual")({"image": tf.stack(crops)}, training=False)
    found = loaded["image_bytes"](image_bytes=tf.constant(contents))
    scale = np.abs(expected).max()
    assert np.abs(found["visual_embedding"] - expected).max() < 1e-5 * scale
    mixed = tf.constant([b"no image", *contents, contents[0][:-400]])
    again = loaded["image_bytes"](image_bytes=mixed)
    assert again["valid"].numpy().tolist() == [False, True, True, False]
    assert (
        again["reason"].numpy()[0]
        == b"not a JPEG or PNG file: convert it by ffmpeg -i FILE NEW.png"
    )
    assert again["reason"].numpy()[3].startswith(b"damaged")
    assert not again["visual_embedding"].numpy()[[0, 3]].any()
    again = again["visual_embedding"][1:3]
    assert np.abs(again - found["visual_embedding"]).max() < 1e-5 * scale
    export = trained.look(path)
    ranked = evaluation.rank_set(
        export.load().embed,
        export.as_read(open_records(records)),
        EvaluationConfig(evaluation_clip_s=2.0),
    )
    assert ranked.metrics() == result["history"][-1]["sets"]["x"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50"])
def test_every_kind_of_encoder_is_exported(records, tmp_path, name):
    model = {**TINY, "image_encoder": name, "image_width": 0.05}
    _train(tmp_path / "run", records, model=model, epochs=0)
    loaded = tf.saved_model.load(serving.export(str(tmp_path / "run"))).signatures
    found = loaded["image_bytes"](image_bytes=tf.constant([_jpeg(0)]))
    assert np.isfinite(found["visual_embedding"]).all()


FROZEN = {**TINY, "image_encoder": "", "image_width": 1.0}


@pytest.mark.slow
def test_records_with_both_train_either_model(tmp_path):
    records = _write(tmp_path / "both", features=True)
    for name, model in (("frozen", FROZEN), ("trainable", TINY)):
        _train(tmp_path / name, records, model=model, epochs=1)
    frozen, trainable = (
        runs.read_info(str(tmp_path / name)) for name in ("frozen", "trainable")
    )
    assert frozen.features_2d == corpus.FEATURES_2D and not frozen.model.image_encoder
    assert frozen.model.visual_dims == (12,)
    assert trainable.features_2d is None and trainable.model.visual_dims == ()


@pytest.mark.slow
def test_frozen_features_become_a_trainable_encoder(tmp_path):
    """As AVLnet section 3.3: the parent saw features of the CNN that is trained now."""
    frozen = FeatureSpec("efficientnet_lite0", 1280, 1.0)
    features = np.random.default_rng(0).uniform(0, 1, (1, 1280)).astype(np.float16)
    made = [_record(number, features_2d=features) for number in range(N)]
    records = corpus.write_records(
        str(tmp_path / "both"), made, images=True, features_2d=frozen
    )
    parent = str(tmp_path / "parent")
    _train(parent, records, model=FROZEN, epochs=1)
    encoder = {"image_encoder": "efficientnet_lite0"}
    with pytest.raises(ValueError, match="trained on frozen .* --image_weights"):
        _train(tmp_path / "child", records, parent, model=encoder)
    assert not (tmp_path / "child" / "run.json").exists()
    _train(
        tmp_path / "child",
        records,
        parent,
        model=encoder,
        epochs=0,
        image_weights="imagenet",
    )
    before, after = (
        runs.load_model(str(tmp_path / name))[0] for name in ("parent", "child")
    )
    for layer in before.layers:
        kept = after.get_layer(layer.name) if layer.weights else layer
        for one, other in zip(layer.get_weights(), kept.get_weights(), strict=True):
            assert np.array_equal(one, other), layer.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"image_encoder": ""}, "no frozen features"),
        ({"image_encoder": "resnet34"}, "--image_encoder=resnet18, this stage asks"),
        ({"image_width": 0.25}, "--image_width=0.125, this stage asks"),
    ],
)
def test_another_encoder_than_the_parents_is_an_error(
    parent, records, tmp_path, model, message
):
    with pytest.raises(ValueError, match=message):
        _train(tmp_path / "child", records, parent[0], model=model)
    assert not (tmp_path / "child" / "run.json").exists()


@pytest.mark.slow
def test_a_parent_of_other_features_is_an_error(parent, tmp_path):
    both = _write(tmp_path / "both", features=True)
    _train(tmp_path / "frozen", both, model=FROZEN, epochs=0)
    for init_from, model, message in (
        (parent[0], {"image_encoder": ""}, "resnet18, this stage asks for none"),
        (str(tmp_path / "frozen"), {"image_encoder": "resnet18"}, "=none, this stage"),
    ):
        with pytest.raises(ValueError, match=message):
            _train(tmp_path / "child", both, init_from, model=model)


def test_records_without_what_the_model_looks_at_are_an_error(records, tmp_path):
    frozen = corpus.make_set(str(tmp_path / "frozen"), n_recordings=N)
    with pytest.raises(ValueError, match="it has no images .*--keep_images"):
        _train(tmp_path / "run", frozen)
    with pytest.raises(ValueError, match="frozen.*it has no images"):
        _train(tmp_path / "run", records, evaluate=frozen)
    with pytest.raises(ValueError, match="no frozen features: give an --image_encoder"):
        _train(tmp_path / "run", records, model=FROZEN)
    with pytest.raises(ValueError, match="--image_weights needs an --image_encoder"):
        _train(tmp_path / "run", frozen, model=FROZEN, image_weights="imagenet")
    assert not (tmp_path / "run").exists()


def test_a_damaged_image_is_an_error_that_names_it_or_skipped(tmp_path):
    made = [_record(number) for number in range(4)]
    made[2] = dataclasses.replace(made[2], image=_jpeg(2)[:-200])
    path = corpus.write_records(str(tmp_path), made, 2, images=True)
    opened = dataset.open_training_records(path, CLIPS)
    with pytest.raises(ValueError, match="record 1 .r2, .*its image cannot be dec"):
        list(dataset.read(dataset.train_batches(opened, CLIPS, 4, 0).take(1), opened))
    skipping = dataclasses.replace(CLIPS, on_corrupt="skip")
    assert dataset.open_training_records(path, skipping).n_records == 3


def test_a_models_configuration_of_before_has_no_encoder():
    value = ModelConfig((12,)).to_json()
    del value["image_encoder"], value["image_width"]
    assert ModelConfig.from_json(value, "run.json") == ModelConfig((12,))
