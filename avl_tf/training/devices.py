"""Which devices a stage is trained on: all GPUs here, or those of several machines."""

import hashlib
import os

import tensorflow as tf

from avl_tf import json_text
from avl_tf.errors import UserError


def strategy() -> tf.distribute.Strategy:
    """All GPUs here, else the (logical) CPUs; with TF_CONFIG, several machines.

    With TF_CONFIG it must be the first that TensorFlow is asked to do.

    Raises:
        ValueError: TF_CONFIG is not what TensorFlow expects; says what that is.
    """
    if text := os.environ.get("TF_CONFIG"):
        _check_tf_config(text)
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices(
        "CPU"
    )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def worker(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """This process's number among the workers, 0 the chief, and how many they are."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 0, 1
    resolver = strategy.cluster_resolver
    workers = resolver.cluster_spec().as_dict()["worker"]
    return resolver.task_id, len(workers)


def require_agreement(strategy: tf.distribute.Strategy, seen: str) -> None:
    """Makes sure that all workers are about to do the same.

    Args:
        strategy: of several workers.
        seen: what must be the same for all: settings, records, the step to go on from.

    Raises:
        ValueError: another worker has seen something else.
    """
    digest = int.from_bytes(hashlib.sha256(seen.encode()).digest()[:7], "little")
    if len(set(_gather(strategy, digest))) > 1:
        raise UserError(
            "the workers were started with different settings, or do not see the same "
            "--records and --run_dir. Start the same command on each, with paths that "
            "all of them share."
        )


def as_chief(strategy: tf.distribute.Strategy, decision: bool) -> bool:
    """What worker 0 has decided, lest the rounding of another part them."""
    _, n_workers = worker(strategy)
    return bool(_gather(strategy, decision)[0]) if n_workers > 1 else decision


def _gather(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """A number of each replica, worker 0's first."""
    own = tf.constant([value], tf.int64)

    @tf.function
    def gather():
        return strategy.gather(strategy.run(lambda: tf.identity(own)), axis=0)

    return gather().numpy().tolist()


def _check_tf_config(text: str) -> None:
    expected = (
        '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
        '"index": 0}}, with another index on each machine'
    )
    try:
        value = json_text.parse(text, "TF_CONFIG")
    except UserError as error:
        raise UserError(
            f"TF_CONFIG is not JSON ({error}). Expected {expected}, or unset it to "
            "train on this machine alone."
        ) from error
    try:
        workers, task = value["cluster"]["worker"], value["task"]
        good = (
            set(value["cluster"]) == {"worker"}
            and isinstance(workers, list)
            and all(isinstance(address, str) and ":" in address for address in workers)
            and task["type"] == "worker"
            and isinstance(task["index"], int)
            and not isinstance(task["index"], bool)
            and 0 <= task["index"] < len(workers)
        )
    except (KeyError, TypeError):
        good = False
    if not good:
        raise UserError(f"TF_CONFIG is {text}. Expected {expected}.")
