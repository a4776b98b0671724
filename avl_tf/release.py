"""The authors' AVLnet checkpoints and our model, name by name, in both directions."""

import dataclasses
import re
from collections.abc import Mapping

import keras
import numpy as np

from avl_tf.model import ModelConfig

# The authors' state holds a batch norm over the spectrogram that no forward pass calls,
# and a counter in every batch norm that nothing reads.
_UNUSED = re.compile(r"DAVEnet\.batchnorm1\..*|.*\.num_batches_tracked")
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_LINEAR = {"weight": "kernel", "bias": "bias"}
_HEADS = {
    "DAVEnet_projection": "audio_projection",
    "GU_audio.fc": "audio_gate_fc",
    "GU_audio.cg.fc": "audio_gate_gate",
    "GU_video.fc": "visual_gate_fc",
    "GU_video.cg.fc": "visual_gate_gate",
}


@dataclasses.dataclass(frozen=True)
class Parity:
    """What became of a checkpoint's tensors.

    placed: (their name, our layer and variable, shape here) in their order. missing:
    variables of ours that no tensor fills. unexpected: tensors that have no place.
    unused: tensors that the authors' own code never uses.
    """

    placed: tuple[tuple[str, str, tuple[int, ...]], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unused: tuple[str, ...]


def our_name(key: str) -> str | None:
    """Our "layer/variable" for a key of the authors' state_dict; None if unknown."""
    module, _, part = key.rpartition(".")
    if module in _HEADS and part in _LINEAR:
        return f"{_HEADS[module]}/{_LINEAR[part]}"
    match = re.fullmatch(r"DAVEnet\.(?:layer(\d)\.(\d)\.)?(.+)", module)
    if not match:
        return None
    stage, block, layer = match.groups()
    layer = {"downsample.0": "downsample_conv", "downsample.1": "downsample_bn"}.get(
        layer, layer
    )
    name = f"layer{stage}_{block}_{layer}" if stage else layer
    if re.search(r"conv\d?$", layer):
        return f"{name}/kernel" if part == "weight" else None
    if re.search(r"bn\d?$", layer) and part in _NORM:
        return f"{name}/{_NORM[part]}"
    return None


def to_ours(key: str, array: np.ndarray) -> np.ndarray:
    """Brings a tensor of the authors' into our layout (kernels end in [in, out])."""
    if array.ndim == 2:
        return array.T
    if array.ndim == 4:
        # conv1 is [out, 1, F, 1] there and a 1 x 1 kernel over F channels here.
        order = (1, 3, 2, 0) if key == "DAVEnet.conv1.weight" else (2, 3, 1, 0)
        return array.transpose(order)
    return array


def load_state(model: keras.Model, state: Mapping[str, np.ndarray]) -> Parity:
    """Sets the model's weights from the authors' state_dict, as far as they match.

    Raises:
        ValueError: a tensor has another shape than its place, or is not finite.
    """
    variables = {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.variables
    }
    placed, unexpected, unused = [], [], []
    for key, array in state.items():
        name = our_name(key)
        if _UNUSED.fullmatch(key):
            unused.append(key)
        elif name not in variables:
            unexpected.append(key)
        else:
            value = to_ours(key, array)
            variable = variables.pop(name)
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"{key} is {list(array.shape)}; {name} needs {variable.shape} in "
                    "our layout."
                )
            if not np.isfinite(value).all():
                raise ValueError(f"{key} holds a NaN or an infinity.")
            variable.assign(value)
            placed.append((key, name, value.shape))
    return Parity(tuple(placed), tuple(variables), tuple(unexpected), tuple(unused))


def config_of(state: Mapping[str, np.ndarray], visual_dims: tuple[int, ...]):
    """Reads the model's widths and dims off the authors' tensors."""
    widths, n_blocks = [len(state["DAVEnet.conv1.weight"])], 0
    while (key := f"DAVEnet.layer{len(widths)}.0.conv1.weight") in state:
        widths.append(len(state[key]))
    while f"DAVEnet.layer1.{n_blocks}.conv1.weight" in state:
        n_blocks += 1
    return ModelConfig(
        visual_dims=visual_dims,
        audio_widths=tuple(widths),
        blocks_per_stage=n_blocks,
        embedding_dim=len(state["GU_video.fc.weight"]),
    )
