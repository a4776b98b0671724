"""What TensorFlow computes on here, and why not on a GPU that is there."""

import glob
import os
import shutil
import subprocess

import tensorflow as tf
from absl import logging

_HIDING = "CUDA_VISIBLE_DEVICES"
_ASK_S = 20


def log(what: str, n_replicas: int = 0) -> None:
    """Logs what this process computes on, with a warning if a GPU is unused.

    Args:
        what: is done on it, as in "training".
        n_replicas: how many share a batch, if that is so.
    """
    text, warning = describe()
    replicas = f", {_counted(n_replicas, 'replica')}" if n_replicas else ""
    tell(what, text + replicas, warning)


def tell(what: str, text: str, warning: str) -> None:
    """Logs what describe says, here or in another process."""
    logging.info("%s on %s", what, text)
    if warning:
        logging.warning("%s", warning)


def describe() -> tuple[str, str]:
    """Says what this process computes on: "1 GPU (its name)" or "the CPU (8 cores)".

    Returns:
        That, and a warning, "" if there is nothing to warn of: a GPU is in the machine,
        and this TensorFlow does not see it for want of CUDA or of libraries.
    """
    gpus = tf.config.get_visible_devices("GPU")
    if gpus and tf.config.list_logical_devices("GPU"):
        return f"{_counted(len(gpus), 'GPU')} ({', '.join(_names(gpus))})", ""
    text = f"the CPU ({_counted(len(os.sched_getaffinity(0)), 'core')})"
    hidden = os.environ.get(_HIDING)
    first = None if hidden is None else hidden.split(",")[0].strip()
    if first is not None and (first in ("", "NoDevFiles") or first.startswith("-")):
        return f"{text}, as {_HIDING}={hidden} asks", ""
    there = _gpus_of_the_machine()
    if not (gpus or there):
        return text, ""
    if not tf.test.is_built_with_gpu_support():
        reason = "this TensorFlow is built without CUDA"
    elif gpus:
        reason = "TensorFlow finds it unfit, see its own lines above"
    elif hidden is not None:
        reason = f"{_HIDING}={hidden} may name none that is there"
    else:
        reason = "its driver or CUDA's libraries are not found, see the lines above"
    return text, (
        f"A GPU is here ({there or gpus[0].name}) and not used: {reason}. pip install "
        f"'tensorflow[and-cuda]=={tf.__version__}' brings the libraries; "
        f"{_HIDING}=-1 says that the CPU is meant."
    )


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n > 1 else ''}"


def _names(gpus) -> list[str]:
    """Names of GPUs, each once."""
    details = map(tf.config.experimental.get_device_details, gpus)
    return list(dict.fromkeys(one.get("device_name", "unnamed") for one in details))


def _gpus_of_the_machine() -> str:
    """What tells of a GPU in this machine, whatever TensorFlow sees; "" if nothing."""
    # Of NVIDIA's driver, the second in a container too; of AMD's.
    for pattern in ("/dev/nvidia[0-9]*", "/proc/driver/nvidia/gpus/*", "/dev/kfd"):
        if files := sorted(glob.glob(pattern)):
            return files[0]
    # The driver's program knows where there are no such files, as under WSL.
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        listed = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=_ASK_S
        )
    except (OSError, UnicodeError, subprocess.TimeoutExpired):
        return ""
    lines = listed.stdout.splitlines()
    return lines[0] if not listed.returncode and lines else ""
