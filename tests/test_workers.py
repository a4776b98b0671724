"""Training on several machines, for which two processes on loopback stand."""

import json
import re
import signal
import socket
import subprocess
import sys

import corpus
import pytest
import tensorflow as tf
from programs import environment, fails_in_one_line, run

SETTINGS = [
    "--audio_widths=16,16,32",
    "--embedding_dim=32",
    "--visual_scale=20",
    "--clip_s=2",
    "--clips_per_recording=8",
    "--batch_size=32",
    "--evaluation_clip_s=2",
]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    # Three shards do not divide evenly between two workers.
    folder = tmp_path_factory.mktemp("records")
    train = corpus.make_set(str(folder / "train"), n_recordings=16, n_shards=3)
    return train, corpus.make_set(str(folder / "evaluation"), seed=1)


def _start(records, run_dir, epochs, first_differs=None, more=()):
    """Starts two workers of one training."""
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    command = [sys.executable, "-m", "avl_tf.train", f"--records={records[0]}"]
    command += [f"--evaluate=x={records[1]}", f"--run_dir={run_dir}", *SETTINGS]
    command += [f"--epochs={epochs}", f"--evaluate_every={epochs}"]
    command += ["--checkpoint_every=2", "--best_metric=x/R@5", *more]
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        workers.append(
            subprocess.Popen(
                command + [first_differs] * bool(first_differs and index == 0),
                env={**environment(), "TF_CONFIG": config},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return workers


def _finish(workers):
    outputs = [worker.communicate(timeout=300) for worker in workers]
    for worker, (_, errors) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, errors[-3000:]
    return outputs


def _weights(run_dir):
    path = tf.train.latest_checkpoint(str(run_dir / "checkpoints"))
    reader = tf.train.load_checkpoint(path)
    return {
        key: reader.get_tensor(key).tobytes()
        for key in reader.get_variable_to_shape_map()
        if key.startswith(("model/", "optimizer/", "step/"))
    }


@pytest.mark.slow
def test_two_workers_end_together_when_patience_is_over(records, tmp_path):
    more = ["--patience=1", "--evaluate_every=1", "--learning_rate=1e-9"]
    for _ in range(2):  # the second time it is over from the start
        outputs = _finish(_start(records, tmp_path / "run", epochs=9, more=more))
        history = json.loads((tmp_path / "run" / "recall.json").read_text())["history"]
        assert 2 <= len(history) < 9
    assert all("finished before" in errors for _, errors in outputs)


@pytest.mark.slow
def test_two_workers_train_one_model_and_outlive_a_kill(records, tmp_path):
    whole = _finish(_start(records, tmp_path / "whole", epochs=12))
    tables = [output for output, _ in whole]
    assert tables[0] == tables[1] != ""
    history = json.loads((tmp_path / "whole" / "recall.json").read_text())["history"]
    first, last = (entry["sets"]["x"] for entry in history)
    for direction in ("a2v", "v2a"):
        assert last[f"{direction}/R@5"] > 1.8 * 100 * 5 / 32 > first[f"{direction}/R@5"]
    assert len(list((tmp_path / "whole").glob("events.*"))) == 1

    workers = _start(records, tmp_path / "killed", epochs=12)
    for line in workers[0].stderr:
        if re.search("epoch 6", line):
            break
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    steps = int(
        tf.train.latest_checkpoint(str(tmp_path / "killed" / "checkpoints")).split("-")[
            -1
        ]
    )
    assert 0 < steps < 48
    _finish(_start(records, tmp_path / "killed", epochs=12))
    assert _weights(tmp_path / "killed") == _weights(tmp_path / "whole")


@pytest.mark.slow
def test_workers_of_different_settings_are_one_clear_line(records, tmp_path):
    workers = _start(records, tmp_path / "run", epochs=1, first_differs="--seed=7")
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 1
        assert "error: the workers were started with different settings" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tf_config", "message"),
    [
        ("{", "TF_CONFIG is not JSON"),
        ("[]", "Expected"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}', "Expected"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "Expected",
        ),
    ],
)
def test_a_wrong_tf_config_is_one_clear_line(
    records, tmp_path, monkeypatch, tf_config, message
):
    monkeypatch.setenv("TF_CONFIG", tf_config)
    result = run("avl_tf.train", f"--records={records[0]}", f"--run_dir={tmp_path}/r")
    fails_in_one_line(result, message)
    assert not (tmp_path / "r").exists()
