"""A training step of two languages, or a pass forth and back through each branch.

Settings: work (step or branches), clips and model (arguments of random_clips and of
ModelConfig). The step is that of the full method with nothing frozen: InfoNCE on all
pairs, and the queue.
"""

import keras
import tensorflow as tf

from avl_tf.model import ModelConfig, branch, build_model, filters_well, inputs_of
from avl_tf.settings.stage import StageConfig
from avl_tf.training import devices, steps
from benchmarks.inputs import random_clips
from benchmarks.side import Work, serve


def prepare(settings: dict) -> Work:
    keras.utils.set_random_seed(0)
    config = ModelConfig(**settings["model"])
    clips = {k: tf.constant(v) for k, v in random_clips(**settings["clips"]).items()}
    batch = {"visual": clips["visual"]}
    for language in config.languages:
        batch |= {f"{key}:{language}": clips[key] for key in ("log_mel", "n_frames")}
    if settings["work"] == "step":
        return _step(config, batch)
    return _branches(config, batch)


def _step(config: ModelConfig, batch: dict) -> Work:
    n_clips = len(batch["visual"])
    stage = StageConfig(
        batch_size=n_clips, loss="infonce", temperature=0.3, nn_queue=1024
    )
    strategy = devices.strategy()
    with strategy.scope():
        state = steps.TrainState(lambda _: _build(config), stage)
    step = steps.train_step(strategy, state, stage, steps_per_epoch=1000)
    return lambda: {"loss": float(step(batch)["loss"])}


def _branches(config: ModelConfig, batch: dict) -> Work:
    model = _build(config)
    passes = [_there_and_back(branch(model, name)) for name in config.branches]
    inputs = [inputs_of(batch, name) for name in config.branches]

    def work():
        for there_and_back, given in zip(passes, inputs, strict=True):
            there_and_back(given)
        return {"n_branches": len(passes)}

    return work


def _there_and_back(tower: keras.Model):
    variables = [variable.value for variable in tower.trainable_variables]

    @tf.function
    def there_and_back(given):
        with tf.GradientTape() as tape:
            embedding = tower(given, training=True)
        # Summed: else nothing would wait for what is thrown away.
        gradients = tape.gradient(embedding, variables)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])

    return lambda given: float(there_and_back(given))


def _build(config: ModelConfig) -> keras.Model:
    return build_model(config, minimal_filtering=filters_well())


if __name__ == "__main__":
    serve(prepare)
