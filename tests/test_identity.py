"""What tells models apart: the digest and the golden pair."""

import dataclasses
import hashlib
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from corpus import make_set

import avl_tf
from avl_tf import files, metrics, runs, serving, training
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig, significance
from avl_tf.model import ModelConfig
from avl_tf.records import FeatureSpec
from avl_tf.serving import card_recalls
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


@pytest.fixture(scope="module")
def export(run_dir):
    return serving.export(run_dir, licence="CC-BY-4.0 | by us")


def test_a_run_and_its_export_are_one_model(run_dir, export):
    run, export = avl_tf.load(run_dir), avl_tf.load(export)
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
        (np.zeros((1, 3)), "audio_embedding was [1, 2], is [1, 3]"),
    ):
        assert told in identity.difference(kept, {"audio_embedding": off})
    assert identity.difference({}, kept) == "audio_embedding was none, is [1, 2]"


def _copy(export, tmp_path):
    return str(shutil.copytree(export, tmp_path / "copy"))


def test_an_export_with_damaged_weights_is_not_loaded(export, tmp_path):
    path = _copy(export, tmp_path)
    golden = os.path.join(path, "assets.extra", "golden.npz")
    pair = dict(np.load(golden))
    off = {**pair, "visual_embedding": pair["visual_embedding"] * 1.001}
    np.savez(golden, **off)
    with pytest.raises(UserError, match="visual_embedding is off by 0.001 of its larg"):
        avl_tf.load(path)
    os.remove(golden)  # of an earlier version
    assert avl_tf.load(path).branches == ("audio", "visual")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x05\x06" + 18 * b"\0", "cut", "pickle"]
)
def test_a_damaged_golden_pair_is_told(export, tmp_path, content):
    path = _copy(export, tmp_path)
    golden = pathlib.Path(path, "assets.extra", "golden.npz")
    if content == "pickle":
        np.savez(golden, log_mel=np.array([{}], dtype=object))
    else:
        whole = golden.read_bytes()
        golden.write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(UserError, match=r"golden.npz: damaged \(.*Run avl_tf.export"):
        avl_tf.load(path)


def test_a_card_says_what_the_model_is(export, run_dir):
    card = pathlib.Path(export, "assets.extra", "card.md").read_text()
    digest = avl_tf.load(run_dir).digest
    for told in (
        f"| digest (SHA-256) | {digest} |",
        "| speech | 8 records, 32 clips, 1.1 min |",
        r"| licence | CC-BY-4.0 \| by us |",
        "| synthetic | yes: generated, no real speech |",
        "None is known of these weights",
        "- `waveform: waveform float32 [?, ?], n_samples int32 [?] -> audio_embedding "
        "float32 [?, 16], valid bool [?], reason string [?]`",
        "epoch 0 (untrained)",
    ):
        assert told in card, told


def _recalls(n, value):
    return {"n": n, **{key: value for key in metrics.KEYS}}


def test_a_card_has_the_recalls_of_its_own_weights(tmp_path):
    weights = runs.Weights("best", 20, 2, 3, "one/a2v/R@1", 100)
    info = dataclasses.replace(INFO, weights=weights)
    sets = {"one": _recalls(100, 20.0), "two": _recalls(20, 50.0)}
    last = {"one": _recalls(100, 90.0)}
    history = [
        {"step": 20, "epoch": 2, "sets": sets},
        {"step": 30, "epoch": 3, "sets": last},
    ]
    write = files.write_json
    write(str(tmp_path / "recall.json"), {"history": history, "stands": 0})
    evaluate = ("one=x/eval", "two=y/val")
    lines = card_recalls.lines(str(tmp_path), info, evaluate)
    text = "\n".join(lines)
    low, high = significance.recall_interval(20.0, 100)
    assert f" 20.0 [{low:.1f}, {high:.1f}] " in text and "90.0" not in text
    rows = [[c.strip() for c in line.split("|")[1:4]] for line in lines if "->" in line]
    assert rows == [
        ["one", "validation: chose the weights", "A->V"],
        ["one", "validation: chose the weights", "V->A"],
        ["two", "validation", "A->V"],
        ["two", "validation", "V->A"],
    ]
    assert "two: n = 20 is too small" in text
    # Evaluated since, but other weights; then these.
    evaluated = {
        "weights": dataclasses.asdict(dataclasses.replace(weights, kind="last")),
        "sets": {"three": _recalls(400, 70.0)},
        "settings": {"evaluate": ["three=z/eval"]},
        "intervals": {"three": {key: (60.0, 80.0) for key in metrics.KEYS}},
    }
    path = str(tmp_path / "evaluation" / "recall.json")
    write(path, evaluated)
    assert card_recalls.lines(str(tmp_path), info, evaluate) == lines
    write(path, {**evaluated, "weights": dataclasses.asdict(weights)})
    text = "\n".join(card_recalls.lines(str(tmp_path), info, evaluate))
    assert "| three | evaluation" in text and " 70.0 [60.0, 80.0] " in text
    write(path, {"weights": 3})
    assert card_recalls.lines(str(tmp_path), info, evaluate) == lines
