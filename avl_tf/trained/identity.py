"""What tells a model from another: its digest, and what it makes of a made input."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

from avl_tf import files, images, settings
from avl_tf.errors import UserError
from avl_tf.model import inputs_of, visual_input
from avl_tf.runs import RunInfo
from avl_tf.settings.model import ModelConfig

# Of the log-mel of the golden input: about 1.3 s, no multiple of what layers stride.
_N_FRAMES = 133
# How far an embedding may be off, in parts of its largest value. Other processors and
# TensorFlows add up in another order; GPUs also multiply with shorter numbers (TF32).
TOLERANCE, TOLERANCE_ON_GPU = 1e-4, 1e-2
_SIDE = "_embedding"
# In assets.extra of an export.
GOLDEN = "golden.npz"


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
        "streams": [stream and stream.to_json() for stream in streams],
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


def embed_golden(
    inputs: Mapping[str, np.ndarray],
    towers: Mapping[str, Callable[[Mapping[str, tf.Tensor]], tf.Tensor]],
) -> dict[str, np.ndarray]:
    """The golden pair of a model by its branches; inputs may be an older pair."""
    read = {name: inputs_of(inputs, name) for name in towers}
    embeddings = {
        name: tower({key: tf.constant(value) for key, value in read[name].items()})
        for name, tower in towers.items()
    }
    return golden_pair(inputs, embeddings)


def has_gpu() -> bool:
    """Whether TensorFlow computes on a GPU here."""
    return bool(tf.config.list_physical_devices("GPU"))


def difference(
    kept: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    on_gpu: bool = False,
) -> str:
    """Says which embeddings of two golden pairs differ, and by how much; "" if none.

    Args:
        kept: the one of before.
        found: the other, made here.
        on_gpu: kept was made on a GPU.
    """
    limit, told = TOLERANCE_ON_GPU if on_gpu or has_gpu() else TOLERANCE, []
    for name in (name for name in found if name.endswith(_SIDE)):
        one, other = kept.get(name), found[name]
        if one is None or other.shape != one.shape:
            shape = "none" if one is None else list(one.shape)
            told.append(f"{name} was {shape}, is {list(other.shape)}")
            continue
        off = np.abs(one - other).max() / max(np.abs(one).max(), 1e-30)
        if not off <= limit:
            told.append(f"{name} is off by {off:.2g} of its largest value")
    return "; ".join(told)


def write_golden(folder: str, pair: Mapping[str, np.ndarray]) -> None:
    """Writes a golden pair into the assets.extra of an export."""
    content = io.BytesIO()
    np.savez_compressed(content, **pair)
    with tf.io.gfile.GFile(files.join(folder, GOLDEN), "wb") as out:
        out.write(content.getvalue())


def check_golden(folder: str, path: str, towers: Mapping[str, Callable]) -> None:
    """Makes sure that an export embeds its golden input as its model did.

    Args:
        folder: its assets.extra; nothing is checked if no pair is in it.
        path: what the export is called.
        towers: by the names of the model's branches.

    Raises:
        UserError: it does not, or the pair cannot be read.
    """
    place = files.join(folder, GOLDEN)
    if not tf.io.gfile.exists(place):
        return
    try:
        with tf.io.gfile.GFile(place, "rb") as stream:
            kept = dict(np.load(io.BytesIO(stream.read()), allow_pickle=False))
        found = embed_golden(kept, towers)
        told = difference(kept, found)
    except (
        *(ValueError, TypeError, KeyError, EOFError, OSError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error, tf.errors.OpError),
    ) as error:
        raise UserError(
            f"{place}: damaged ({files.reason(error)}). Run avl_tf.export again."
        ) from error
    if told:
        raise UserError(
            f"{path}: it does not embed its golden input ({GOLDEN}) as its model did "
            f"when it was exported: {told}. Its weights are damaged, or TensorFlow "
            f"{tf.__version__} computes otherwise on this processor: run avl_tf.export "
            "again, here."
        )
