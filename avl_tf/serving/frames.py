"""Raw frames in TF ops: scaled as a 2D backbone wants them, then embedded."""

import os

import keras
import tensorflow as tf

from avl_tf import dataset
from avl_tf.backbones import Backbone
from avl_tf.errors import UserError
from avl_tf.model import branch
from avl_tf.runs import RunInfo
from avl_tf.serving import faults, signatures
from avl_tf.settings.limits import MOST_TIMES
from avl_tf.trained import streams

# Of swscale's bicubic: B = 0, C = 0.6 of Mitchell and Netravali 1988.
_A = -0.6


def backbone(info: RunInfo, weights: str = "") -> Backbone:
    """Loads the CNN that the signature takes in.

    Args:
        info: of the run.
        weights: file of its weights, "" for its own.

    Raises:
        UserError: it cannot be loaded, or the model does not see by it alone.
    """
    if info.model.image_encoder:
        raise UserError(
            f"--with_backbone: the model sees by its own {info.model.image_encoder}, "
            "which is in every export: its signatures image and image_bytes."
        )
    if info.features_3d or not info.features_2d:
        motion = info.features_3d.backbone if info.features_3d else "no 2D features"
        raise UserError(
            f"--with_backbone: the model sees by {motion}, and only one 2D CNN can be "
            "taken in. Leave it out: the signature features takes features of both."
        )
    if weights and not os.path.isfile(weights):
        raise FileNotFoundError(f"--weights_2d={weights}: no such file.")
    found = streams.backbones(info, {"features_2d": weights}, "as --{}=FILE")
    return found["features_2d"]


def of_frames(
    model: keras.Model, backbone: Backbone, pooling: str
) -> dict[str, signatures.Signature]:
    """The signature frames, for a model of 2D features, their CNN and their pooling.

    Differs: media scales by swscale in whole numbers: pixels are off by 1 of 255, few
    by more; none where the shorter side is the backbone's already.
    """
    visual_model = branch(model, "visual")

    def features(frames):
        scaled = tf.map_fn(
            lambda frame: scale(frame, backbone.short_side), frames, infer_shape=False
        )
        return backbone.network(tf.ensure_shape(scaled, [None, None, None, 3]))

    def embed_frames(frames, n_frames):
        frames, n_frames = faults.of_one_batch(frames=frames, n_frames=n_frames)
        sides = tf.shape(frames)[2:4]
        shortest, longest = tf.reduce_min(sides), tf.reduce_max(sides)
        unfit = (tf.size(frames) == 0) | (longest > MOST_TIMES * shortest)
        n_items = tf.shape(frames)[0]
        reason = faults.of_lengths(tf.zeros(tf.shape(frames)[:2]), "n_frames", n_frames)
        sized = faults.worded("its frames are ", sides[0], " x ", sides[1], " pixels")
        reason = faults.first_reason(
            (reason != "", reason), (tf.fill([n_items], unfit), sized)
        )
        # An item at least, which need not count.
        black = tf.zeros([tf.maximum(n_items, 1), 1, 1, 1, 3], tf.uint8)
        frames = tf.cond(unfit, lambda: black, lambda: frames)
        n_frames = tf.where(reason == "", n_frames, 1)
        n_frames = tf.pad(
            n_frames, [[0, tf.maximum(1 - n_items, 0)]], constant_values=1
        )
        window = tf.map_fn(
            features,
            frames,
            fn_output_signature=tf.TensorSpec([None, backbone.feature_dim]),
        )
        window = tf.math.l2_normalize(window, axis=-1)
        # As a record holds them.
        window = tf.cast(tf.cast(window, tf.float16), tf.float32)
        mask = tf.sequence_mask(n_frames, tf.shape(window)[1])
        pooled = dataset.pool_features([window], [mask], pooling)[:n_items]
        reason = faults.first_reason(
            (reason != "", reason), (tf.constant(True), faults.of_numbers(pooled))
        )
        visual = tf.where(reason[:, tf.newaxis] == "", pooled, 0.0)
        embedding = visual_model({"visual": visual}, training=False)
        return faults.answer("visual_embedding", embedding, reason)

    given = [
        tf.TensorSpec([None, None, None, None, 3], tf.uint8, "frames"),
        tf.TensorSpec([None], tf.int32, "n_frames"),
    ]
    return {"frames": (embed_frames, given)}


def scale(frame: tf.Tensor, short_side: int) -> tf.Tensor:
    """Scales a frame to a shorter side as media does.

    Args:
        frame: uint8 [H, W, 3].
        short_side: pixels.

    Returns:
        uint8 [h, w, 3].

    Source: FFmpeg's libswscale, bicubic.
    """
    sides = tf.shape(frame)[:2]
    wanted = sides * short_side // tf.reduce_min(sides)
    image = tf.cast(frame, tf.float32)
    image = tf.tensordot(_cubic(sides[0], wanted[0]), image, 1)
    image = tf.einsum("vw,hwc->hvc", _cubic(sides[1], wanted[1]), image)
    return tf.cast(tf.clip_by_value(tf.floor(image + 0.5), 0, 255), tf.uint8)


def _cubic(size: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """What each of `wanted` pixels takes of each of `size`: float32 [wanted, size]."""
    ratio = tf.cast(size, tf.float32) / tf.cast(wanted, tf.float32)
    reach = tf.maximum(ratio, 1.0)
    centres = (tf.range(tf.cast(wanted, tf.float32)) + 0.5) * ratio - 0.5
    # Beyond the edges stands what is at the edge.
    margin = tf.cast(tf.math.ceil(2 * reach), tf.int32)
    places = tf.range(-margin, size + margin)
    away = tf.cast(places, tf.float32) - centres[:, tf.newaxis]
    d = tf.abs(away) / reach
    near = ((_A + 2) * d - (_A + 3)) * d * d + 1
    far = ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A
    weights = tf.where(d < 1, near, tf.where(d < 2, far, 0.0))
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    inside = tf.clip_by_value(places, 0, size - 1)
    return tf.transpose(
        tf.math.unsorted_segment_sum(tf.transpose(weights), inside, size)
    )
