"""What a model hears step by step: the audio tower without its pooling over time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf.audio import AudioConfig
from avl_tf.errors import UserError
from avl_tf.media import Wanted
from avl_tf.model import audio_steps
from avl_tf.runs import RunInfo
from avl_tf.settings import branches
from avl_tf.trained import sources
from avl_tf.trained.sources import Source

# A batch of a branch's inputs to what audio_steps.build gives.
StepTower = Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]


class Heard(NamedTuple):
    """A recording as it is heard.

    steps: float32 [T', D], the embedding of each audio step; None of an export that
    cannot tell. step_s: seconds a step. embedding: float32 [D], of them all.
    """

    steps: np.ndarray | None
    step_s: float
    embedding: np.ndarray


def branch(languages: tuple[str, ...], language: str) -> str:
    """The branch of a model that hears a language; UserError if none does."""
    if not languages:
        return "audio"
    if language not in languages:
        given = "no language given" if language == "und" else f"language={language}"
        raise UserError(
            f"{given}: the model hears {', '.join(languages)}, each with a branch of "
            f"its own. Say which, as in embed_audio(..., language='{languages[0]}')."
        )
    return f"audio:{language}"


def read(
    source: Source,
    config: AudioConfig,
    clip_s: float,
    alone: bool,
    wanted: Wanted,
    longest_s: float | None = None,
) -> tuple[dict[str, Any], bool]:
    """The inputs of an audio branch, and whether the recording was cut.

    Args:
        source: a recording.
        config: of the model.
        clip_s, alone: as sources.clip.
        wanted: which sound.
        longest_s: of a file, no more than that is read.
    """
    samples = sources.samples(source, config.sample_rate, wanted, longest_s)
    is_cut = len(samples) > clip_s * config.sample_rate
    return sources.clip(samples, config, clip_s, alone), is_cut


def in_steps(
    tower: StepTower, source: Source, clip: Mapping[str, Any], frame_rate: float
) -> Heard:
    """Embeds the inputs of read, step by step; UserError if it is not finite."""
    batch = {
        name: tf.constant(np.expand_dims(value, 0)) for name, value in clip.items()
    }
    found = {key: value.numpy() for key, value in tower(batch).items()}
    steps = found["audio_steps"][0, : found["n_steps"][0]]
    every = np.concatenate([found["audio_embedding"], steps])
    sources.require_finite([source] * len(every), every)
    return Heard(steps, int(found["step_frames"]) / frame_rate, every[0])


def tell_cut(cut: list[Source], n: int, clip_s: float) -> None:
    """Warns of recordings, of n, that were cut."""
    if cut:
        logging.warning(
            "%d of %d recordings are longer than %g s and were cut to it; the first is "
            "%s.",
            len(cut),
            n,
            clip_s,
            sources.name(cut[0]),
        )


def of_run(model: keras.Model, info: RunInfo) -> dict[str, StepTower]:
    """The step towers of a model, by its audio branches; compiled when first called."""
    return {
        name: tf.function(audio_steps.build(model, name), reduce_retracing=True)
        for name in info.model.branches[:-1]
        if not info.model.has_maps
    }


def of_export(signatures: Mapping[str, Any], info: RunInfo) -> dict[str, StepTower]:
    """Those of an export; none of one that was made before there were any."""

    def tower(signature):
        def embed(batch):
            outputs = signature(log_mel=batch["log_mel"], n_frames=batch["n_frames"])
            if not outputs["valid"][0]:
                reason = outputs["reason"].numpy()[0].decode()
                raise UserError(f"the query cannot be embedded: {reason}.")
            return outputs

        return embed

    named = {
        name: f"log_mel_steps{branches.suffix(name)}"
        for name in info.model.branches[:-1]
    }
    return {
        name: tower(signatures[signature])
        for name, signature in named.items()
        if signature in signatures
    }
