"""Backbones of others: networks of keras.applications, and SavedModels of TF-Hub.

In: a name or a handle. Out: a function from uint8 RGB images to features.
"""

import inspect
import os
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from avl_tf import files
from avl_tf.errors import UserError


def load_keras(name: str, weights: str | None = None) -> tuple[Callable, str]:
    """Loads a network of keras.applications, its classifier cut off.

    Args:
        name: as keras.applications has it: ResNet152, EfficientNetV2B0, ...
        weights: path of a file that model.save_weights wrote of this network with
            include_top=False; None: Keras fetches its ImageNet weights.

    Returns:
        uint8 [K, H, W, 3] RGB tensor -> float32 [K, D], the mean over the last map of
        the images as the network's own preprocess_input makes them; and what the
        weights were read from.

    Raises:
        ValueError: no such network, or the file holds other weights.
        FileNotFoundError: there is no such file.
        OSError: the weights could not be downloaded.
    """
    builders = dict(inspect.getmembers(keras.applications, inspect.isfunction))
    if name not in builders or name.startswith("NASNet"):
        raise UserError(
            f"keras:{name}: keras.applications has no network of this name that takes "
            "images of any size, expected one of "
            f"{', '.join(n for n in builders if not n.startswith('NASNet'))}."
        )
    if weights and not os.path.exists(weights):
        raise FileNotFoundError(f"keras:{name}: there is no file {weights}.")
    preprocess = sys.modules[builders[name].__module__].preprocess_input
    model = _build(builders[name], f"keras:{name}", weights)
    for variable in model.weights:
        if not np.isfinite(variable.numpy()).all():
            raise UserError(f"{weights}: {variable.path} is not finite.")

    def compute(images: tf.Tensor) -> tf.Tensor:
        return model(preprocess(tf.cast(images, tf.float32)), training=False)

    return compute, weights or f"imagenet of keras {keras.__version__}"


def _build(builder, name, weights):
    try:
        return builder(
            include_top=False,
            weights=weights or "imagenet",
            input_shape=(None, None, 3),
            pooling="avg",
        )
    except ValueError as error:
        raise UserError(
            f"{weights or 'imagenet'} does not hold the weights of {name} without its "
            f"classifier: {error}"
        ) from error
    except Exception as error:  # Keras' download raises the bare class
        if weights or "URL fetch failure" not in str(error):
            raise
        raise OSError(
            f"{name}: Keras could not download the ImageNet weights ({error}). Give a "
            "file of them as weights."
        ) from error


def load_hub(handle: str, weights: str | None = None) -> tuple[Callable, str]:
    """Loads an image feature vector of TF-Hub or Kaggle, or a SavedModel of the kind.

    Args:
        handle: address, or path of a SavedModel's folder. The module takes float32
            [K, height, width, 3] in [0, 1] and returns float32 [K, D].
        weights: must be None: a module has its own.

    Returns:
        uint8 [K, H, W, 3] RGB tensor -> float32 [K, D]; and the handle. Where the
        module takes one size only, whole images are stretched to it.

    Raises:
        ValueError: weights are given, or the module is not of this kind.
        OSError: nothing is found there, or it cannot be downloaded.
    """
    if weights:
        raise UserError(f"hub:{handle} has its own weights, got weights={weights}.")
    import tensorflow_hub  # slow, and only needed here

    try:
        with files.plain(tensorflow_hub.resolve(handle)) as folder:
            module = tensorflow_hub.load(folder)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"hub:{handle} cannot be loaded: {error}") from error
    function, size = _image_function(module, handle)

    def compute(images: tf.Tensor) -> tf.Tensor:
        images = tf.cast(images, tf.float32) / 255
        if size:
            images = tf.image.resize(images, size, antialias=True)
        features = function(images)
        if isinstance(features, dict):
            features = features[_output_key(features)]
        return tf.cast(features, tf.float32)

    # Two images: a module may be fixed to one.
    try:
        features = compute(tf.zeros((2, 224, 224, 3), tf.uint8))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"hub:{handle} does not take images: {error}") from error
    if features.shape.rank != 2 or len(features) != 2:
        raise UserError(
            f"hub:{handle} makes {list(features.shape)} of 2 images, expected [2, D]. "
            "Use the module's feature vector, not its classifier or its map."
        )
    return compute, handle


def _output_key(outputs) -> str:
    if "default" in outputs or len(outputs) == 1:
        return "default" if "default" in outputs else next(iter(outputs))
    raise UserError(f"it has the outputs {sorted(outputs)}, and none named default")


def _image_function(module, handle):
    """The module's function of images, and the only size it takes (else None)."""
    if callable(module):
        function, concrete = module, getattr(module.__call__, "concrete_functions", [])
    else:
        names = [n for n in ("default", "serving_default") if n in module.signatures]
        if not names:
            raise UserError(
                f"hub:{handle} can not be called and has no signature named default "
                f"or serving_default, only {list(module.signatures)}."
            )
        concrete = [module.signatures[names[0]]]
        function = _by_keyword(concrete[0], handle)
    sizes = [
        tuple(spec.shape[1:3])
        for one in concrete
        for spec in tf.nest.flatten(one.structured_input_signature)
        if isinstance(spec, tf.TensorSpec) and spec.shape.rank == 4
    ]
    fixed = sizes and all(None not in size for size in sizes)
    return function, sizes[0] if fixed else None


def _by_keyword(signature, handle):
    """A signature takes its only input by name."""
    names = list(signature.structured_input_signature[1])
    if len(names) != 1:
        raise UserError(f"hub:{handle} takes {names}, expected one input: images.")
    return lambda images: signature(**{names[0]: images})
