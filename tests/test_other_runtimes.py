"""Files beside the SavedModel, for TFLite and ONNX, and what runs them."""

import pathlib
import shutil
import subprocess
import sys

import corpus
import numpy as np
import pytest
import tensorflow as tf

import avl_tf
from avl_tf import audio, runs, serving, training
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.serving import onnx_files, plain, tflite_files
from avl_tf.settings.stage import StageConfig

RATE = 16000


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtimes")
    records = corpus.make_set(str(folder / "records"), n_recordings=4)
    stage = StageConfig(records=records, epochs=1, batch_size=8)
    evaluated = EvaluationConfig((f"x={records}",), evaluation_clip_s=2.0)
    config = ModelConfig((12,), audio_widths=(8, 8, 16), embedding_dim=16)
    run_dir = str(folder / "run")
    training.train_stage(run_dir, stage, ClipConfig(clip_s=2.0), evaluated, config)
    return run_dir


@pytest.fixture(scope="module")
def files(run_dir, tmp_path_factory):
    """The TFLite files, written as avl_tf.export writes them."""
    folder = tmp_path_factory.mktemp("tflite")
    model, info = runs.load_model(run_dir)
    tflite_files.write(str(folder), model, info, run_dir)
    return folder


def _waveform(seconds=1.5):
    random = np.random.default_rng(0)
    waveform = np.zeros((1, 2 * RATE), np.float32)
    n_samples = round(seconds * RATE)
    noise = random.integers(-9000, 9000, n_samples) / 32768
    waveform[0, :n_samples] = noise * np.linspace(0.1, 1, n_samples)
    return waveform, np.array([n_samples], np.int32)


def _off(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


_INTERPRETER = """
import sys
for name in ("keras", "tf_keras", "avl_tf"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
def run(file, **given):
    return tf.lite.Interpreter(file).get_signature_runner()(**given)
waveform, n_samples = np.load("waveform.npy"), np.load("n_samples.npy")
whole = run("query_float.tflite", waveform=waveform, n_samples=n_samples)
heard = run("log_mel.tflite", waveform=waveform, n_samples=n_samples)
small = run("query_int8.tflite", **heard)
np.savez("found.npz", whole=whole["audio_embedding"], small=small["audio_embedding"])
"""


def test_tflite_embeds_as_the_model_in_a_process_of_its_own(run_dir, files):
    waveform, n_samples = _waveform()
    np.save(files / "waveform.npy", waveform)
    np.save(files / "n_samples.npy", n_samples)
    subprocess.run([sys.executable, "-c", _INTERPRETER], cwd=files, check=True)
    found = np.load(files / "found.npz")
    heard = waveform[0, : n_samples[0]]
    expected = avl_tf.load(run_dir).embed_audio((heard, RATE))
    assert _off(found["whole"], expected) < 1e-3
    small = found["small"]
    cosine = np.sum(small * expected) / np.linalg.norm(small)
    # Noise is not what it was calibrated on.
    assert cosine / np.linalg.norm(expected) > 0.9
    # It is of eight bits indeed.
    assert _off(small, expected) > 1e-5


def test_samples_behind_the_end_do_not_count(files):
    run = tflite_files.runner((files / "query_float.tflite").read_bytes())
    waveform, n_samples = _waveform()
    expected = run(waveform=waveform, n_samples=n_samples)["audio_embedding"]
    waveform[0, n_samples[0] :] = 0.5
    found = run(waveform=waveform, n_samples=n_samples)["audio_embedding"]
    np.testing.assert_array_equal(found, expected)


def test_without_the_training_records_others_are_asked_for(run_dir, tmp_path):
    model, info = runs.load_model(run_dir)
    moved = shutil.copytree(run_dir, tmp_path / "run")
    flags = moved / "flags.txt"
    flags.write_text(flags.read_text().replace("records/train", "gone/train"))
    with pytest.raises(UserError, match="by --calibration=RECORDS"):
        tflite_files.write(str(tmp_path), model, info, str(moved))
    assert not list(tmp_path.glob("*.tflite"))
    records = str(pathlib.Path(run_dir).parent / "records" / "train")
    clips = tflite_files.calibration_clips(
        avl_tf.trained.look(str(moved)), records, 2.0
    )
    assert len(clips) == 16 and clips[0]["log_mel"].shape == (1, 200, 40)


def test_the_portable_log_mel_is_the_log_mel():
    waveform, n_samples = _waveform()
    config = audio.AudioConfig()
    expected = audio.log_mel(waveform, config, n_samples)
    found = audio.log_mel(waveform, config, n_samples, portable=True)
    assert 0 < np.abs(found - expected).max() < 0.01


@pytest.fixture(scope="module")
def onnx_folder(run_dir, tmp_path_factory):
    pytest.importorskip("tf2onnx", reason="the extra onnx is not installed")
    folder = tmp_path_factory.mktemp("onnx")
    onnx_files.write(str(folder), *runs.load_model(run_dir))
    return folder


def _given(name):
    random = np.random.default_rng(0)
    if name == "waveform":
        return dict(zip(("waveform", "n_samples"), _waveform(), strict=True))
    if name == "log_mel":
        log_mel = random.integers(-80, 1, (3, 150, 40)).astype(np.float32)
        return {"log_mel": log_mel, "n_frames": np.array([150, 90, 1], np.int32)}
    features = random.uniform(0, 1, (3, 4, 12)).astype(np.float32)
    if name == "visual":
        return {"visual": features[:, 0]}
    return {"features_2d": features, "n_2d": np.array([4, 2, 1], np.int32)}


@pytest.mark.parametrize("name", ["waveform", "log_mel", "visual", "features"])
def test_onnx_runtime_embeds_as_the_model(run_dir, onnx_folder, name):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = str(onnx_folder / f"{name}.onnx")
    given = _given(name)
    (found,) = onnxruntime.InferenceSession(path).run(None, given)
    function, specs = plain.all_of(*runs.load_model(run_dir))[name]
    assert [spec.name for spec in specs] == list(given)
    (expected,) = function(*map(tf.constant, given.values())).values()
    assert _off(found, expected.numpy()) < 1e-4


@pytest.mark.parametrize("name", ["log_mel", "visual", "features"])
def test_openvino_embeds_as_onnx_runtime(onnx_folder, name):
    openvino = pytest.importorskip("openvino", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    path, given = str(onnx_folder / f"{name}.onnx"), _given(name)
    # By itself it computes in bfloat16 where the processor has that: off by 0.005.
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", precise)
    found = next(iter(compiled(given).values()))
    (expected,) = onnxruntime.InferenceSession(path).run(None, given)
    assert _off(found, expected) < 1e-4


def test_an_export_keeps_the_files(run_dir, monkeypatch):
    kept = []
    monkeypatch.setattr(tflite_files, "write", lambda *given: kept.append(given))
    monkeypatch.setattr(serving.checking, "check", lambda *given: None)
    monkeypatch.setattr(onnx_files, "write", lambda *given: kept.append(given))
    serving.export(run_dir, tflite=True, calibration="records", onnx=True)
    (to_tflite, to_onnx) = kept
    assert to_tflite[3:] == (run_dir, "records") and to_onnx[0].endswith(".tmp/onnx")
