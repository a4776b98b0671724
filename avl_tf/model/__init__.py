"""AVLnet as a functional Keras model: ModelConfig in, two towers and one space out."""

import itertools
import os
from collections.abc import Collection, Mapping
from typing import TypeVar

import keras
import tensorflow as tf

from avl_tf.backbones.trainable import Trainable
from avl_tf.errors import UserError
from avl_tf.images import SIDE
from avl_tf.layers import dtype_policy
from avl_tf.model import audio_tower, davenet, heads, image_encoder
from avl_tf.settings.model import WIDEST, ModelConfig

T = TypeVar("T")
_SUFFIX = "_embedding"
_OF_HEADS = ("audio_head", "visual_head", "head_hidden_dim", "visual_scale")
# Layers that are models: the towers of several languages, or the one they share, whose
# name is no language's.
_TOWER, _SHARED = "audio_tower_", "audio_towers"


def build_model(
    config: ModelConfig,
    initialize: bool = True,
    mixed_precision: str = "off",
    sync_batch_norm: bool = False,
    minimal_filtering: bool = False,
    frozen: Collection[str] = (),
) -> keras.Model:
    """Builds AVLnet; without initialize its weights are zeros, to be set.

    mixed_precision is the type of the activations: off (float32), float16 or bfloat16.
    With sync_batch_norm, batch norm in training is over the clips of all replicas.
    minimal_filtering halves the products of wide layers, to be used where filters_well.
    frozen: branches that do not learn, or image_encoder.LAYER, and embed in training
    as they do in evaluation.

    Inputs, by name: log_mel float32 [B, T, F]; n_frames int32 [B], the true length of
    each clip; visual float32 [B, sum(visual_dims)], each stream's max over the clip,
    L2-normalised (dataset.pool_features); or, with an image encoder in place of visual,
    image uint8 [B, 224, 224, 3].
    Of several languages there are a log_mel and an n_frames each, as in log_mel:es.
    Outputs, by name: audio_embedding (audio:es_embedding and so on of several
    languages) and visual_embedding [B, embedding_dim], not normalised unless
    normalize_embeddings: their dot product is the similarity. Maps if config.has_maps.

    Source: Rouditchenko et al. 2021 (AVLnet) section 2; authors' model.py.
    Differs: visual_scale, mask_padding_in_training, pad_db, audio_attention and
    normalize_embeddings, each off by default; several languages.
    """
    check(config)
    policy = "float32" if mixed_precision == "off" else f"mixed_{mixed_precision}"
    with dtype_policy(policy):
        return _build(config, initialize, sync_batch_norm, minimal_filtering, frozen)


def check(config: ModelConfig) -> None:
    """Raises UserError for a model that cannot be built; nothing is made."""
    if not config.image_encoder and not sum(config.visual_dims):
        raise UserError(
            "the model has nothing to see by: neither visual features (their widths, "
            "visual_dims in run.json, are none) nor an --image_encoder."
        )
    _check_similarity(config)
    if config.audio_head == "fused" and config.embedding_dim < 2:
        raise UserError("--audio_head=fused needs an --embedding_dim of 2 or more.")
    widths = config.widths
    if config.audio_attention and config.audio_encoder != "resdavenet":
        raise UserError("--audio_attention is for --audio_encoder=resdavenet only.")
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


def _check_similarity(config: ModelConfig) -> None:
    """Raises UserError for settings that a similarity of maps has no use for."""
    kind = f"--similarity={config.similarity}"
    if config.similarity == "dot":
        return
    if not config.image_encoder:
        raise UserError(
            f"{kind} is of maps of images, and frozen features have none: give an "
            "--image_encoder, and records of data_prep.extract --keep_images."
        )
    if config.embedding_dim != config.widths[-1]:
        raise UserError(
            f"{kind} has no head: --embedding_dim={config.embedding_dim} must be the "
            f"last of --audio_widths, {config.widths[-1]}."
        )
    default = ModelConfig(())
    given = [k for k in _OF_HEADS if getattr(config, k) != getattr(default, k)]
    if config.has_maps and config.normalize_embeddings:
        given.append("normalize_embeddings")
    if given:
        raise UserError(f"{kind} has no heads for --{given[0]}: leave that out.")
    config.require_one_language(config.languages)


def _n_weights(config: ModelConfig) -> int:
    """About how many weights a model of frozen features has; few more than that."""
    widths, out = config.widths, config.embedding_dim
    n_towers = 1 if config.shared_audio else max(1, len(config.languages))
    if config.audio_encoder == "davenet":
        tower = davenet.n_weights(config.audio.n_mels, widths)
    else:
        first = sum(10 * a * b + 9 * b * b for a, b in itertools.pairwise(widths))
        others = (config.blocks_per_stage - 1) * sum(18 * b * b for b in widths[1:])
        tower = first + others
    if config.similarity != "dot":
        return n_towers * tower
    tower += widths[-1] * out
    return n_towers * tower + out * (out + sum(config.visual_dims))


def filters_well() -> bool:
    """Whether minimal_filtering pays on this machine: on GPUs their library does it."""
    return not tf.config.list_physical_devices("GPU")


def _build(
    config: ModelConfig,
    initialize: bool,
    sync_batch_norm: bool,
    minimal_filtering: bool,
    frozen: Collection[str],
) -> keras.Model:
    # First, as its weights are drawn first: a seed's are the same in every version.
    seen, visual = _seen(config, initialize, sync_batch_norm)
    how = audio_tower.Built(initialize, sync_batch_norm, minimal_filtering)
    inputs: dict[str, keras.KerasTensor] = {}
    outputs: dict[str, keras.KerasTensor] = {}
    tower = None
    for language in config.languages or ("",):
        suffix = language and f":{language}"
        heard = audio_tower.inputs(config, suffix)
        inputs |= {f"{key}{suffix}": value for key, value in heard.items()}
        if not language:
            embedding = audio_tower.build(config, heard, how)
        else:
            if tower is None or not config.shared_audio:
                name = _SHARED if config.shared_audio else _TOWER + language
                tower = audio_tower.as_model(config, name, how)
            embedding = tower(heard)
        outputs[f"audio{suffix}{_SUFFIX}"] = embedding
    outputs[f"visual{_SUFFIX}"] = _visual_head(config, visual, initialize)
    model = keras.Model({**inputs, seen.name: seen}, outputs, name="avlnet")
    for name in frozen:
        if name == image_encoder.LAYER:
            model.get_layer(name).trainable = False
            continue
        for layer in branch(model, name).layers:
            layer.trainable = False
    return model


def _seen(
    config: ModelConfig, initialize: bool, sync_batch_norm: bool
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input of the visual branch, and its features [B, D] or map [B, H, W, D]."""
    if config.image_encoder:
        image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
        how = Trainable(config.image_width, initialize, sync_batch_norm)
        as_map = config.similarity != "dot"
        return image, image_encoder.build(config.image_encoder, how, as_map)(image)
    visual = keras.Input((sum(config.visual_dims),), name="visual")
    return visual, visual


def _visual_head(
    config: ModelConfig, visual: keras.KerasTensor, initialize: bool
) -> keras.KerasTensor:
    """Features [B, D] or a map [B, H, W, D] to the embedding of the visual branch."""
    if config.similarity != "dot":
        image_map = image_encoder.embedded_map(visual, config.embedding_dim, initialize)
        if config.has_maps:
            rows = (-1, config.embedding_dim)
            return keras.layers.Reshape(rows, name="regions")(image_map)
        mean = keras.layers.GlobalAveragePooling2D(name="image_pool")(image_map)
        return heads.normalized(mean, config, "visual_unit")
    if config.visual_scale != 1:
        scale = keras.layers.Rescaling(config.visual_scale, name="visual_scale")
        visual = scale(visual)
    kind, out = config.visual_head, config.embedding_dim
    if kind == "gated":
        video = heads.gated_unit(visual, out, "visual_gate", initialize)
    else:
        video = heads.projection(visual, config, "visual", kind, initialize)
    return heads.normalized(video, config, "visual_unit")


def visual_input(config: ModelConfig) -> str:
    """What a model sees by: its input "visual" or "image"."""
    return "image" if config.image_encoder else "visual"


def branch(model: keras.Model, name: str) -> keras.Model:
    """One tower of a model from build_model, sharing its weights.

    Args:
        model: the whole.
        name: one of its branches.

    Returns:
        A model of the inputs that the branch needs, log_mel and n_frames, visual, or
        image; its output is the embedding [B, D].
    """
    language = name.partition(":")[2]
    for layer in model.layers if language else ():
        if layer.name in (_SHARED, _TOWER + language):
            return layer
    inputs = inputs_of(model.input, name)
    return keras.Model(inputs, model.output[f"{name}{_SUFFIX}"], name=f"{name}_branch")


def inputs_of(batch: Mapping[str, T], name: str) -> dict[str, T]:
    """What a branch reads of a batch: log_mel:es, of audio:es, as log_mel."""
    if name == "visual":
        return {key: batch[key] for key in ("visual", "image") if key in batch}
    suffix = name.removeprefix("audio")
    return {key: batch[f"{key}{suffix}"] for key in audio_tower.INPUTS}


def layers_of(model: keras.Model, name: str) -> list[keras.layers.Layer]:
    """The layers of a branch that hold weights; their names are those of any model."""
    return [layer for layer in branch(model, name).layers if layer.weights]


def by_branch(outputs: Mapping[str, T]) -> dict[str, T]:
    """A model's outputs, audio_embedding and so on, by the names of its branches."""
    return {name.removesuffix(_SUFFIX): value for name, value in outputs.items()}
