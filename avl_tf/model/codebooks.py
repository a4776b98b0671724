"""Where ResDAVEnet-VQ has its codebooks, and what else follows a layer of the encoder.

A position is a place behind a layer: 1 behind the first convolution, 2 and on behind
the stages. The codebook at position 3 is the layer quant3.
"""

import dataclasses
from collections.abc import Callable

import keras

from avl_tf.errors import UserError
from avl_tf.model.quantizer import TemporalJitter, VectorQuantizer
from avl_tf.settings.model import ModelConfig

# What follows a layer: its output [B, 1, T, C] and position to the next one's input.
After = Callable[[keras.KerasTensor, int], keras.KerasTensor]
# The authors' code has jitter there, with codebooks or without.
_JITTERED = (1, 2)


def after_layers(
    config: ModelConfig,
    n_frames: keras.KerasTensor,
    log_mel: keras.KerasTensor,
    initialize: bool = True,
) -> After:
    """Makes what follows the layers of a model's encoder; nothing without codebooks.

    Args:
        config: the model's.
        n_frames, log_mel: inputs of the tower, by which frames are known to be valid.
        initialize: draw the first codes; else they are zeros, to be set.

    Source: Harwath et al. 2020 (Learning Hierarchical Discrete Linguistic Units from
        Visually-Grounded Speech) section 3.1; authors' ResDavenetVQ.forward. Jitter is
        behind the first convolution and the first stage there, whether or not they have
        a codebook; --vq_compat=paper has it behind each codebook.
    """
    check(config)

    def after(x: keras.KerasTensor, position: int) -> keras.KerasTensor:
        if config.audio_encoder != "resdavenet_vq":
            return x
        quantized = position in config.codebooks
        if quantized:
            x = VectorQuantizer(
                config.codebook_size,
                config.commitment_cost,
                config.codebook_decay,
                initialize=initialize,
                name=f"quant{position}",
            )(x, n_frames, log_mel)
        official = config.vq_compat == "official"
        if config.jitter and (position in _JITTERED if official else quantized):
            name = f"jitter{position}"
            x = TemporalJitter(config.jitter, config.vq_compat, name=name)(x)
        return x

    return after


def check(config: ModelConfig) -> None:
    """Raises UserError for codebooks at places that the encoder has not."""
    last, asked = len(config.audio_widths), config.vq_layers
    if config.audio_encoder != "resdavenet_vq":
        if asked != ModelConfig.vq_layers:
            raise UserError("--vq_layers needs --audio_encoder=resdavenet_vq.")
    elif len({*asked}) < len(asked) or not {*asked} <= {*range(1, last + 1)}:
        text = ",".join(map(str, asked))
        raise UserError(
            f"--vq_layers={text}: expected different numbers from 1, behind the first "
            f"convolution, to {last}, behind the last stage of --audio_widths."
        )


def grown(parent: ModelConfig, child: ModelConfig) -> ModelConfig:
    """The parent with those codebooks of the child that it has not: they start anew.

    The parent as it is, if it has others or is no such model; then they do not fit.

    Source: Harwath et al. 2020 section 4.1, which trains without a codebook first.
    """
    encoders = parent.audio_encoder, child.audio_encoder
    if encoders[1] != "resdavenet_vq" or encoders[0] not in ("resdavenet", encoders[1]):
        return parent
    if not {*parent.codebooks} <= {*child.codebooks}:
        return parent
    size = parent.codebook_size if parent.codebooks else child.codebook_size
    return dataclasses.replace(
        parent,
        audio_encoder=child.audio_encoder,
        vq_layers=child.vq_layers,
        codebook_size=size,
    )
