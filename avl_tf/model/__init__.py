"""AVLnet as a functional Keras model: ModelConfig in, two towers and one space out."""

import itertools
import os
from collections.abc import Mapping
from typing import TypeVar

import keras
import tensorflow as tf

from avl_tf.backbones.trainable import Trainable
from avl_tf.errors import UserError
from avl_tf.images import SIDE
from avl_tf.layers import dtype_policy
from avl_tf.model import audio_encoders, heads, image_encoder
from avl_tf.settings.model import WIDEST, ModelConfig

T = TypeVar("T")
_SUFFIX = "_embedding"


def build_model(
    config: ModelConfig,
    initialize: bool = True,
    mixed_precision: str = "off",
    sync_batch_norm: bool = False,
    minimal_filtering: bool = False,
) -> keras.Model:
    """Builds AVLnet; without initialize its weights are zeros, to be set.

    mixed_precision is the type of the activations: off (float32), float16 or bfloat16.
    With sync_batch_norm, batch norm in training is over the clips of all replicas.
    minimal_filtering halves the products of wide layers, to be used where filters_well.

    Inputs, by name: log_mel float32 [B, T, F]; n_frames int32 [B], the true length of
    each clip; visual float32 [B, sum(visual_dims)], each stream's max over the clip,
    L2-normalised (dataset.pool_features); or, with an image encoder in place of visual,
    image uint8 [B, 224, 224, 3].
    Outputs, by name: audio_embedding and visual_embedding [B, embedding_dim], not
    normalised: their dot product is the similarity.

    Source: Rouditchenko et al. 2021 (AVLnet) section 2; authors' model.py.
    Differs: visual_scale, mask_padding_in_training and pad_db, each off by default.
    """
    if not config.image_encoder and not sum(config.visual_dims):
        raise UserError(
            "the model has nothing to see by: neither visual features (their widths, "
            "visual_dims in run.json, are none) nor an --image_encoder."
        )
    if config.audio_head == "fused" and config.embedding_dim < 2:
        raise UserError("--audio_head=fused needs an --embedding_dim of 2 or more.")
    widths = config.audio_widths
    if len(widths) < 2 or min(widths) < 1 or max(widths) > WIDEST:
        raise UserError(
            f"--audio_widths needs the width of the first layer and of at least one "
            f"stage, from 1 to {WIDEST}; got {widths}."
        )
    needed = 4 * _n_weights(config)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        raise UserError(
            f"the weights alone of a model of {widths} channels, "
            f"{config.blocks_per_stage} blocks a stage and {config.embedding_dim} "
            f"dimensions need {needed / 1e9:.0f} GB, and this machine has "
            f"{memory / 1e9:.0f} GB of memory. Lower --audio_widths or --embedding_dim."
        )
    policy = "float32" if mixed_precision == "off" else f"mixed_{mixed_precision}"
    with dtype_policy(policy):
        return _build(config, initialize, sync_batch_norm, minimal_filtering)


def _n_weights(config: ModelConfig) -> int:
    """About how many weights a model of frozen features has; few more than that."""
    widths, out = config.audio_widths, config.embedding_dim
    first = sum(10 * a * b + 9 * b * b for a, b in itertools.pairwise(widths))
    others = (config.blocks_per_stage - 1) * sum(18 * b * b for b in widths[1:])
    return first + others + widths[-1] * out + out * (out + sum(config.visual_dims))


def filters_well() -> bool:
    """Whether minimal_filtering pays on this machine: on GPUs their library does it."""
    return not tf.config.list_physical_devices("GPU")


def _build(
    config: ModelConfig,
    initialize: bool,
    sync_batch_norm: bool,
    minimal_filtering: bool,
) -> keras.Model:
    log_mel = keras.Input((None, config.audio.n_mels), name="log_mel")
    n_frames = keras.Input((), dtype="int32", name="n_frames")
    if config.image_encoder:
        seen = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
        how = Trainable(config.image_width, initialize, sync_batch_norm)
        visual = image_encoder.build(config.image_encoder, how)(seen)
    else:
        seen = visual = keras.Input((sum(config.visual_dims),), name="visual")

    padded = heads.MaskPadding(config.pad_db, name="mask_padding")(log_mel, n_frames)
    audio_map = audio_encoders.resdavenet(
        padded,
        config.audio_widths,
        config.blocks_per_stage,
        initialize,
        sync_batch_norm,
        minimal_filtering,
    )
    audio = heads.MeanPool(config.mask_padding_in_training, name="audio_pool")(
        audio_map, n_frames, log_mel
    )
    if config.audio_head == "official":
        audio = heads.gated_unit(
            audio, config.audio_widths[-1], "audio_gate", initialize
        )
        audio = heads.linear(
            audio, config.embedding_dim, "audio_projection", initialize
        )
    elif config.audio_head == "fused":
        audio = heads.linear(
            audio, config.embedding_dim // 2, "audio_projection", initialize
        )
        audio = heads.gated_unit(audio, config.embedding_dim, "audio_gate", initialize)
    else:
        audio = heads.gated_unit(audio, config.embedding_dim, "audio_gate", initialize)

    scaled = visual
    if config.visual_scale != 1:
        scaled = keras.layers.Rescaling(config.visual_scale, name="visual_scale")(
            visual
        )
    video = heads.gated_unit(scaled, config.embedding_dim, "visual_gate", initialize)
    return keras.Model(
        {"log_mel": log_mel, "n_frames": n_frames, seen.name: seen},
        {"audio_embedding": audio, "visual_embedding": video},
        name="avlnet",
    )


def visual_input(config: ModelConfig) -> str:
    """What a model sees by: its input "visual" or "image"."""
    return "image" if config.image_encoder else "visual"


def branch(model: keras.Model, name: str) -> keras.Model:
    """One tower of a model from build_model, sharing its weights.

    Args:
        model: the whole.
        name: one of its branches.

    Returns:
        A model of the inputs that the branch needs, by name; its output is the
        embedding [B, D].
    """
    needed = {"visual": ("visual", "image"), "audio": ("log_mel", "n_frames")}[name]
    inputs = {k: v for k, v in model.input.items() if k in needed}
    return keras.Model(inputs, model.output[f"{name}{_SUFFIX}"], name=f"{name}_branch")


def by_branch(outputs: Mapping[str, T]) -> dict[str, T]:
    """A model's outputs, audio_embedding and so on, by the names of its branches."""
    return {name.removesuffix(_SUFFIX): value for name, value in outputs.items()}
