"""What tells a model from another: its digest, and what it makes of a made input."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from avl_tf import images, settings
from avl_tf.model import inputs_of, visual_input
from avl_tf.runs import RunInfo
from avl_tf.settings.model import ModelConfig

# Of the log-mel of the golden input: about 1.3 s, no multiple of what layers stride.
_N_FRAMES = 133
# How far an embedding may be off, in parts of its largest value. Other processors and
# TensorFlows add up in another order; GPUs also multiply with shorter numbers (TF32).
TOLERANCE, TOLERANCE_ON_GPU = 1e-4, 1e-2
_SIDE = "_embedding"


def digest(info: RunInfo, variables: Iterable[tf.Variable]) -> str:
    """A model's hash: of what shapes it and of the bytes of its weights.

    Settings of a later version change it only where they are not at their defaults.

    Args:
        info: of the run.
        variables: of the model, in Keras' order.

    Returns:
        SHA-256 in hexadecimal.
    """
    defaults = settings.plain(ModelConfig(()))
    streams = (info.features_2d, info.features_3d)
    configuration = {
        "model": {
            name: value
            for name, value in settings.plain(info.model).items()
            if value != defaults[name]
        },
        "streams": [stream and dataclasses.asdict(stream) for stream in streams],
        "log_mel_reference": info.log_mel_reference,
    }
    found = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode())
    for variable in variables:
        array = np.ascontiguousarray(variable.numpy())
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(array.data)
    return found.hexdigest()


def golden_inputs(info: RunInfo) -> dict[str, np.ndarray]:
    """One made item for all branches of a model, by the names of its inputs.

    Source: NumPy keeps RandomState's numbers the same for ever (NEP 19).
    """
    random = np.random.RandomState(0)
    config = info.model
    made: dict[str, np.ndarray] = {}
    # Whole decibels: the same number in every format.
    shape = (1, _N_FRAMES, config.audio.n_mels)
    log_mel = random.randint(-80, 1, shape).astype(np.float32)
    for name in config.branches[:-1]:
        language = name.removeprefix("audio")
        made[f"log_mel{language}"] = log_mel
        made[f"n_frames{language}"] = np.array([_N_FRAMES], np.int32)
    if visual_input(config) == "image":
        tiles = random.randint(0, 256, (1, 7, 7, 3)).astype(np.uint8)
        size = images.SIDE // 7
        made["image"] = tiles.repeat(size, axis=1).repeat(size, axis=2)
    else:
        width = sum(config.visual_dims)
        made["visual"] = random.randint(0, 256, (1, width)).astype(np.float32)
        made["visual"] /= np.float32(256 * width**0.5)
    return made


def golden_pair(
    inputs: Mapping[str, np.ndarray], embeddings: Mapping[str, tf.Tensor]
) -> dict[str, np.ndarray]:
    """The inputs, and beside them what each branch makes of them, by BRANCH_embedding.

    Args:
        inputs: from golden_inputs.
        embeddings: float32 [1, D] by branch.
    """
    found = {f"{name}{_SIDE}": np.array(e) for name, e in embeddings.items()}
    return {**inputs, **found}


def of_golden(pair: Mapping[str, np.ndarray], branch: str) -> dict[str, tf.Tensor]:
    """What a branch reads of a golden pair or its inputs, as a batch of one."""
    read = inputs_of(pair, branch)
    return {name: tf.constant(value) for name, value in read.items()}


def difference(kept: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> str:
    """Says which embeddings of two golden pairs differ, and by how much; "" if none."""
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    limit, told = TOLERANCE_ON_GPU if on_gpu else TOLERANCE, []
    for name in (name for name in kept if name.endswith(_SIDE)):
        one, other = kept[name], found.get(name)
        if other is None or other.shape != one.shape:
            told.append(f"{name} is {None if other is None else list(other.shape)}")
            continue
        off = np.abs(one - other).max() / max(np.abs(one).max(), 1e-30)
        if not off <= limit:
            told.append(f"{name} is off by {off:.2g} of its largest value")
    return "; ".join(told)
