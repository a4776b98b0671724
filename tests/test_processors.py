"""The devices that a log names, and GPUs that nobody uses."""

import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf
from programs import environment

from avl_tf import processors

_CODE = "from avl_tf import processors; print(*processors.describe(), sep='\\n')"
_GPU = "GPU 0: Tesla V100-SXM2-32GB (UUID: GPU-0)"


def _smi(folder, text):
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def _describe(**variables):
    environ = environment()
    environ.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        env=environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("hidden", "warned"),
    [(None, True), ("0", True), ("GPU-0", True), ("-1", False), ("", False)],
)
def test_a_gpu_that_is_not_used_is_warned_of(tmp_path, hidden, warned):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("a GPU that is used")
    _smi(tmp_path / "bin", f"echo '{_GPU}'")
    variables = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    if hidden is not None:
        variables["CUDA_VISIBLE_DEVICES"] = hidden
    text, warning = _describe(**variables)
    cores = len(os.sched_getaffinity(0))
    assert text.startswith(f"the CPU ({cores} core")
    assert bool(warning) == warned
    if warned:
        assert _GPU in warning and "pip install" in warning
        assert (f"CUDA_VISIBLE_DEVICES={hidden}" in warning) == (hidden is not None)
    else:
        assert text.endswith(f"as CUDA_VISIBLE_DEVICES={hidden} asks")


@pytest.mark.parametrize("answer", ["exit 9", "echo failed; exit 1", "exit 0"])
def test_no_gpu_is_no_warning(tmp_path, monkeypatch, answer):
    _smi(tmp_path / "bin", answer)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr(processors.glob, "glob", lambda _: [])
    assert processors._gpus_of_the_machine() == ""
    monkeypatch.setenv("PATH", "")
    assert processors._gpus_of_the_machine() == ""


def _machine(monkeypatch, visible, usable, cuda=True, there="/dev/nvidia0"):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: visible)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: usable)
    monkeypatch.setattr(tf.test, "is_built_with_gpu_support", lambda: cuda)
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda device: {"device_name": device.name},
    )
    monkeypatch.setattr(processors, "_gpus_of_the_machine", lambda: there)
    return processors.describe()


def test_what_is_used_and_why_not_is_told(monkeypatch):
    device = tf.config.PhysicalDevice("Tesla V100", "GPU")
    assert _machine(monkeypatch, [device] * 2, [1, 2]) == ("2 GPUs (Tesla V100)", "")
    for machine, reason in (
        (([device], []), "unfit"),
        (([], [], False), "/dev/nvidia0. and not used: .* built without CUDA"),
        (([], []), "libraries are not found"),
    ):
        text, warning = _machine(monkeypatch, *machine)
        assert text.startswith("the CPU (")
        assert re.search(reason, warning)
    assert _machine(monkeypatch, [], [], True, "")[1] == ""


def test_replicas_are_counted(monkeypatch):
    said = []
    monkeypatch.setattr(processors, "describe", lambda: ("2 GPUs (T4)", "one idles"))
    monkeypatch.setattr(
        processors.logging, "info", lambda *a: said.append(a[0] % a[1:])
    )
    monkeypatch.setattr(processors.logging, "warning", lambda *a: said.append(a[1]))
    processors.log("training", 2)
    processors.log("training", 1)
    processors.log("evaluation")
    said = [text for text in said if text != "one idles"]
    assert said == [
        "training on 2 GPUs (T4), 2 replicas",
        "training on 2 GPUs (T4), 1 replica",
        "evaluation on 2 GPUs (T4)",
    ]
