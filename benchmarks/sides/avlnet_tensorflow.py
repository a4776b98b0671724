"""The full-size model as avl_tf trains and embeds with it, on random clips.

Settings: work (training or embedding), clips and model (arguments of random_clips and
of ModelConfig); weights: a .pth to write for the other side, if any; found: for
embedding, an .npz.
"""

import time

import keras
import tensorflow as tf

from avl_tf import evaluation, release
from avl_tf.model import ModelConfig, build_model, filters_well
from avl_tf.settings.stage import StageConfig
from avl_tf.torch_weights.writer import write_state_dict
from avl_tf.training import devices, steps
from benchmarks.inputs import random_clips
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    keras.utils.set_random_seed(0)
    config = ModelConfig(**settings["model"])
    batch = {k: tf.constant(v) for k, v in random_clips(**settings["clips"]).items()}
    if settings["work"] == "training":
        model, work = _training(config, batch)
    else:
        model, work = _embedding(config, batch, settings["found"])
    if "weights" not in settings:
        return work
    started = time.perf_counter()
    write_state_dict(settings["weights"], release.to_state(model, config))
    weights_s = time.perf_counter() - started
    return lambda: work() | {"weights_s": weights_s}


def _training(config: ModelConfig, batch: dict) -> tuple[keras.Model, Work]:
    """As avl_tf.train, without --jit_compile: slower where it was last measured."""
    n_clips = len(batch["log_mel"])
    stage = StageConfig(batch_size=n_clips)
    strategy = devices.strategy()
    with strategy.scope():
        state = steps.TrainState(lambda _: _build(config), stage)
    step = steps.train_step(strategy, state, stage, steps_per_epoch=1000)

    def work():
        return {"loss": float(step(batch)["loss"]), "n_clips": n_clips}

    return state.trained, work


def _embedding(
    config: ModelConfig, batch: dict, found: str
) -> tuple[keras.Model, Work]:
    """As avl_tf.evaluate."""
    model = _build(config)
    embed = evaluation.embed_function(model)

    def work():
        found_here = {f"{k}_embedding": v.numpy() for k, v in embed(batch).items()}
        save_once(found, **found_here)
        return {"n_clips": len(batch["log_mel"])}

    return model, work


def _build(config: ModelConfig) -> keras.Model:
    return build_model(config, minimal_filtering=filters_well())


if __name__ == "__main__":
    serve(prepare)
