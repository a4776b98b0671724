"""What hears: log-mels of one language to embeddings, as layers or as a model."""

import dataclasses
from collections.abc import Mapping

import keras

from avl_tf.model import audio_encoders, codebooks, davenet, heads
from avl_tf.settings.model import ModelConfig

INPUTS = ("log_mel", "n_frames")


@dataclasses.dataclass(frozen=True)
class Built:
    """How a tower is built; see model.build_model."""

    initialize: bool
    sync_batch_norm: bool
    minimal_filtering: bool


def inputs(config: ModelConfig, suffix: str = "") -> dict[str, keras.KerasTensor]:
    """New inputs of a tower, by INPUTS; the suffix tells those of a language apart."""
    return {
        "log_mel": keras.Input((None, config.audio.n_mels), name=f"log_mel{suffix}"),
        "n_frames": keras.Input((), dtype="int32", name=f"n_frames{suffix}"),
    }


def as_model(config: ModelConfig, name: str, how: Built) -> keras.Model:
    """A tower as a model of its own, to be called on the inputs of a language."""
    heard = inputs(config)
    return keras.Model(heard, build(config, heard, how), name=name)


def build(
    config: ModelConfig, heard: Mapping[str, keras.KerasTensor], how: Built
) -> keras.KerasTensor:
    """Builds a tower on its inputs; returns the embedding, see ModelConfig.has_maps."""
    log_mel, n_frames = (heard[name] for name in INPUTS)
    initialize, out = how.initialize, config.embedding_dim
    padded = heads.MaskPadding(config.pad_db, name="mask_padding")(log_mel, n_frames)
    if config.audio_encoder == "davenet":
        audio_map = davenet.davenet(
            padded, config.widths, initialize, how.sync_batch_norm
        )
    else:
        audio_map = audio_encoders.resdavenet(
            padded,
            config.widths,
            config.blocks_per_stage,
            initialize,
            how.sync_batch_norm,
            how.minimal_filtering,
            n_frames if config.audio_attention else None,
            codebooks.after_layers(config, n_frames, log_mel, initialize),
        )
    if config.has_maps:
        return heads.WithSteps(name="audio_steps")(audio_map, n_frames, log_mel)
    # DAVEnet's authors leave the padding out in training too.
    masked = config.mask_padding_in_training or config.similarity == "sisa"
    audio = heads.MeanPool(masked, name="audio_pool")(audio_map, n_frames, log_mel)
    if config.similarity == "sisa":
        # In place of a head: audio_steps makes a model of what is behind the pooling.
        audio = keras.layers.Identity(name="audio_mean")(audio)
        return heads.normalized(audio, config, "audio_unit")
    if config.audio_head == "official":
        audio = heads.gated_unit(audio, config.widths[-1], "audio_gate", initialize)
        audio = heads.linear(audio, out, "audio_projection", initialize)
    elif config.audio_head == "fused":
        audio = heads.linear(audio, out // 2, "audio_projection", initialize)
        audio = heads.gated_unit(audio, out, "audio_gate", initialize)
    elif config.audio_head in ("linear", "nonlinear"):
        kind = config.audio_head
        audio = heads.projection(audio, config, "audio", kind, initialize)
    else:
        audio = heads.gated_unit(audio, out, "audio_gate", initialize)
    return heads.normalized(audio, config, "audio_unit")
