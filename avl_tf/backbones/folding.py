"""Loads a PyTorch state_dict into a Keras model, batch norms folded if it has none.

In: a Keras model whose convolutions and dense layers carry the state_dict's names, and
the state_dict as NumPy arrays. Out: the same model with its weights set. A frozen batch
norm is a scale and an offset a channel, so it goes into the kernel and the bias of the
convolution before it: fewer layers, less time, and the same values to float32 rounding.
In a model that learns it is a layer, of the state_dict's name too.
"""

from collections.abc import Callable, Mapping

import keras
import numpy as np

from avl_tf.errors import UserError


def load_state(
    model: keras.Model,
    state: Mapping[str, np.ndarray],
    source: str,
    norm_name: Callable[[str], str],
    epsilon: float,
    ignored: str | None = None,
) -> None:
    """Sets every kernel and bias, and every batch norm, of `model` from `state`.

    Args:
        model: Keras model; each layer that has a kernel is named as in `state`. A
            convolution has a bias, or a batch norm behind it.
        state: key -> array in PyTorch's layout (kernels [out, in, ...]).
        source: where `state` came from, for messages.
        norm_name: name of a convolution -> name of the batch norm after it.
        epsilon: the batch norms' epsilon.
        ignored: start of the keys that may be there and are not used (a classifier).

    Raises:
        ValueError: keys are missing or unexpected, or an array has another shape
            than the model needs, or holds a value that is not finite.
    """
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    keys = {layer.name: _keys(layer, norm_name) for layer in layers}
    found = {
        key
        for key in state
        if not key.endswith(".num_batches_tracked")
        and not (ignored and key.startswith(ignored))
    }
    _check_keys({key for group in keys.values() for key in group}, found, source, model)
    norms = {la.name: la for la in model.layers if hasattr(la, "moving_variance")}
    for layer in layers:
        arrays = [_finite(state[key], key, source) for key in keys[layer.name]]
        axes = _check_shapes(layer, arrays, keys[layer.name], source)
        kernel, *others = arrays
        if len(others) > 1 and norm_name(layer.name) in norms:
            norms[norm_name(layer.name)].set_weights(others)
        else:
            kernel, bias = _fold(kernel, others, epsilon)
            layer.bias.assign(bias)
        layer.kernel.assign(np.moveaxis(kernel, (0, 1), axes))


def _keys(layer: keras.Layer, norm_name: Callable[[str], str]) -> list[str]:
    if isinstance(layer, keras.layers.Dense):
        return [f"{layer.name}.weight", f"{layer.name}.bias"]
    parts = ("weight", "bias", "running_mean", "running_var")
    norm = norm_name(layer.name)
    return [f"{layer.name}.weight", *(f"{norm}.{part}" for part in parts)]


def _check_keys(
    expected: set[str], found: set[str], source: str, model: keras.Model
) -> None:
    problems = []
    for word, keys in (
        ("missing", sorted(expected - found)),
        ("unexpected", sorted(found - expected)),
    ):
        if keys:
            more = ", ..." if len(keys) > 3 else ""
            problems.append(f"{len(keys)} keys {word}: {', '.join(keys[:3])}{more}")
    if problems:
        raise UserError(
            f"{source} does not hold the weights of {model.name}; "
            f"{'; '.join(problems)}. Give the plain state_dict of this network, or "
            "ask for the network that the file belongs to."
        )


def _finite(array: np.ndarray, key: str, source: str) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if not np.isfinite(array).all() or (key.endswith("_var") and (array < 0).any()):
        raise UserError(
            f"{source}: {key} holds values that are not finite, or a negative "
            "variance; the file is damaged. Fetch it again."
        )
    return array


def _check_shapes(layer, arrays, keys, source) -> tuple[int, int]:
    """Where a kernel's axes [out, in] are in Keras' layout."""
    # Keras [..., in, out], PyTorch [out, in, ...]; of a depthwise convolution [...,
    # channels, 1] and [channels, 1, ...], so the two axes keep their order.
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    axes = (-2, -1) if depthwise else (-1, -2)
    shape = tuple(layer.kernel.shape)
    expected = (shape[axes[0]], shape[axes[1]], *shape[:-2])
    for key, array in zip(keys, arrays, strict=True):
        if array.shape != expected:
            raise UserError(
                f"{source}: {key} has shape {list(array.shape)}, expected "
                f"{list(expected)}. Ask for the network, and the width, of the file."
            )
        expected = expected[:1]  # after the kernel: a value for each output
    return axes


def _fold(kernel, others, epsilon) -> tuple[np.ndarray, np.ndarray]:
    """A kernel [out, in, ...] and a bias that do what the batch norm does too."""
    if len(others) == 1:  # there is none
        return kernel, others[0]
    gamma, beta, mean, variance = others
    scale = gamma / np.sqrt(variance + np.float32(epsilon))
    return kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1)), beta - mean * scale
