"""What a user has set for Keras changes nothing here, and is not changed."""

import hashlib
import json
import os
import subprocess
import sys

import corpus
import pytest
import small_corpora
from programs import environment, run_afresh

from avl_tf import runs

FOREIGN = {"floatx": "float16", "epsilon": 0.01, "image_data_format": "channels_first"}
_WRONG = {"floatx": "int8", "epsilon": "x", "image_data_format": "rows", "backend": 7}
# Name -> (keras.json or None, environment, what is imported before avl_tf).
USERS = {
    "clean": (None, {}, ""),
    "channels first": ({**FOREIGN, "backend": "torch"}, {}, ""),
    "float64": ({**FOREIGN, "floatx": "float64"}, {"KERAS_BACKEND": "torch"}, ""),
    "jax": (None, {"KERAS_BACKEND": "jax", "KERAS_NNX_ENABLED": "1"}, ""),
    "wrong": (_WRONG, {"KERAS_BACKEND": "", "KERAS_MAX_EPOCHS": "many"}, ""),
    "legacy": (_WRONG, {"TF_USE_LEGACY_KERAS": "1"}, ""),
    "tensorflow before": (FOREIGN, {}, "import tensorflow"),
    "layers before": (FOREIGN, {}, "import keras; keras.layers.Dense(2)"),
    "half precision before": (
        None,
        {},
        "import keras; keras.config.set_dtype_policy('mixed_bfloat16')",
    ),
}
_PROBE = """
import hashlib
import avl_tf
import keras
import numpy as np
from avl_tf.backbones import load_backbone
from avl_tf.model import ModelConfig, build_model
random = np.random.default_rng(0)
digest = hashlib.sha256()
def add(array):
    digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
keras.utils.set_random_seed(3)
config = ModelConfig((20,), audio_widths=(8, 8, 16), embedding_dim=16)
model = build_model(config)
for weights in model.get_weights():
    add(weights)
inputs = {
    "log_mel": random.uniform(-80, 0, (2, 200, 40)).astype(np.float32),
    "n_frames": np.array([200, 150], np.int32),
    "visual": random.uniform(0, 1, (2, 20)).astype(np.float32),
}
for name, embedding in sorted(model(inputs, training=False).items()):
    add(embedding.numpy())
images = random.integers(0, 256, (2, 224, 320, 3), np.uint8)
add(load_backbone("efficientnet_lite0")(images))
print(digest.hexdigest())
"""


# As one may in a notebook.
_AFTER = """
import avl_tf
import keras
keras.config.set_floatx("float16")
keras.config.set_image_data_format("channels_first")
"""
_STAYS = """
print(keras.config.floatx(), keras.config.image_data_format())
"""


def _home(folder, keras_json):
    """An environment with a home of its own, and a keras.json in it."""
    (folder / ".keras").mkdir(parents=True)
    if keras_json is not None:
        (folder / ".keras" / "keras.json").write_text(json.dumps(keras_json))
    names = ("KERAS_BACKEND", "KERAS_HOME", "TF_USE_LEGACY_KERAS")
    own = {k: v for k, v in environment().items() if k not in names}
    return {**own, "HOME": str(folder)}


def _python(code, env):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    done = _python(_PROBE, _home(tmp_path_factory.mktemp("clean"), None))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("user", [name for name in USERS if name != "clean"])
def test_models_and_features_are_those_of_a_clean_home(clean, tmp_path, user):
    keras_json, more, before = USERS[user]
    done = _python(f"{before}\n{_PROBE}", {**_home(tmp_path, keras_json), **more})
    assert done.returncode == 0, done.stderr
    assert done.stdout == clean
    path = tmp_path / ".keras" / "keras.json"
    if keras_json is not None:
        assert json.loads(path.read_text()) == keras_json
    elif not before:
        assert not path.exists()


@pytest.mark.slow
def test_what_is_set_after_the_import_changes_nothing_and_stays(clean, tmp_path):
    done = _python(f"{_AFTER}\n{_PROBE}\n{_STAYS}", _home(tmp_path, None))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{clean}float16 channels_first\n"


def test_the_folder_of_downloads_and_the_environment_stay_the_users(tmp_path):
    code = """
import avl_tf, os
from keras.src.backend import config
print(config.keras_home(), os.environ["KERAS_BACKEND"], os.environ.get("KERAS_HOME"))
"""
    env = {**_home(tmp_path, FOREIGN), "KERAS_BACKEND": "torch"}
    assert _python(code, env).stdout.split() == [f"{tmp_path}/.keras", "torch", "None"]
    env["KERAS_HOME"] = f"{tmp_path}/mine"
    mine = f"{tmp_path}/mine"
    assert _python(code, env).stdout.split() == [mine, "torch", mine]


def test_keras_2_of_the_builders_process_is_kept_clean_too(tmp_path):
    code = """
import data_prep.builder.inaspeech_process
from tensorflow import keras
print(keras.__name__, keras.backend.floatx(), keras.backend.image_data_format())
"""
    env = {**_home(tmp_path, FOREIGN), "TF_USE_LEGACY_KERAS": "1"}
    found = _python(code, env).stdout.split()
    assert found == ["tf_keras.api._v2.keras", "float32", "channels_last"]


def test_keras_on_another_backend_before_is_told_in_one_line(tmp_path):
    code = """
import sys, types
torch = types.ModuleType("keras.src.backend.config")
torch.backend = lambda: "torch"
sys.modules[torch.__name__] = torch
import avl_tf
"""
    done = _python(code, _home(tmp_path, None))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "imported before avl_tf, with the backend torch. Import avl_tf first" in last


@pytest.mark.slow
def test_programs_and_their_workers_do_as_in_a_clean_home(tmp_path, monkeypatch):
    videos = tmp_path / "videos"
    for name in ("a", "b"):
        small_corpora.video(videos / f"{name}.mp4")
    lines = [{"id": n, "media": f"{n}.mp4", "split": "train"} for n in ("a", "b")]
    manifest = videos / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    train = corpus.make_set(str(tmp_path / "set"), n_recordings=8)
    digests = []
    for user in ("clean", "float64"):
        keras_json, more, _ = USERS[user]
        home = {**_home(tmp_path / user, keras_json), **more}
        monkeypatch.setattr(os, "environ", home)
        out, run_dir = tmp_path / user / "records", tmp_path / user / "run"
        for command in (
            [
                "data_prep.extract",
                f"--manifest={manifest}",
                f"--out_dir={out}",
                "--backbone_2d=efficientnet_lite0",
                "--recordings_per_shard=1",
                "--workers=2",
            ],
            [
                "avl_tf.train",
                f"--run_dir={run_dir}",
                f"--records={train}",
                f"--evaluate=x={train}",
                "--epochs=2",
                "--batch_size=8",
                "--clip_s=2",
                "--clips_per_recording=4",
                "--evaluation_clip_s=2",
                "--audio_widths=8,8,16",
                "--embedding_dim=16",
            ],
            ["avl_tf.export", f"--run_dir={run_dir}"],
        ):
            done = run_afresh(*command)
            assert done.returncode == 0, done.stderr
        contents = {path.name: path.read_bytes() for path in out.glob("*.tfrecord")}
        assert len(contents) == 2
        recall = json.loads((run_dir / "recall.json").read_text())["history"]
        contents["recall.json"] = json.dumps(recall).encode()
        weights = runs.load_model(str(run_dir))[0].get_weights()
        contents["weights"] = b"".join(array.tobytes() for array in weights)
        digests.append({k: hashlib.sha256(v).digest() for k, v in contents.items()})
    assert digests[0] == digests[1]
