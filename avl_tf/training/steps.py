"""One training step over all devices: embed, the loss over the global batch, Adam.

A replica's clips are embedded in one pass, or micro-batch by micro-batch: the loss
needs all embeddings but no activations, so that the batch may be far larger than what
fits in memory.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from avl_tf import losses
from avl_tf.errors import UserError
from avl_tf.training import optimizers
from avl_tf.training.stage_config import StageConfig

Batch = dict[str, tf.Tensor]
EMBEDDINGS = ("audio_embedding", "visual_embedding")


class TrainState(tf.Module):
    """What a step changes: weights, batch statistics, slots, counters.

    Made in the strategy's scope; a checkpoint of it is all that a resumed run needs.
    `trained` is the model that learns. `model`, always float32, stands for the run: the
    same one, or its running average, or its copy if `trained` is of mixed precision.
    """

    def __init__(self, make_model: Callable[[str], keras.Model], stage: StageConfig):
        """Makes the models by make_model(mixed_precision)."""
        super().__init__()
        self.averages = bool(stage.ema_decay)
        self.trained = self.model = make_model(stage.mixed_precision)
        if self.averages or stage.mixed_precision != "off":
            self.model = make_model("off")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.optimizer = optimizers.Adam(_values(self.trained.trainable_variables))
        self.loss_scale = None
        if stage.mixed_precision == "float16":
            self.loss_scale = optimizers.LossScale()

    def settle(self) -> None:
        """Brings `model` up to date; a running average is so after the first step."""
        if self.model is not self.trained and not (self.averages and self.step > 0):
            self.model.set_weights(self.trained.get_weights())

    def not_finite(self) -> bool:
        """Whether any weight, statistic or slot is a NaN or an infinity."""
        held = _values(self.trained.variables) + list(self.optimizer.variables)
        return not all(np.isfinite(variable.numpy()).all() for variable in held)


def train_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    stage: StageConfig,
    steps_per_epoch: int,
) -> Callable[[Batch], tf.Tensor]:
    """Compiles the training step.

    Args:
        strategy: the one in whose scope state was made.
        state: changed by each call.
        stage: how to train.
        steps_per_epoch: for the learning rate.

    Returns:
        A function from a distributed batch (the model's inputs, each replica's share
        of the same size) to the loss over the global batch.

    Raises:
        ValueError: the batch cannot be dealt evenly to devices or micro-batches, or
            --sync_batch_norm is with --jit_compile or --micro_batch.
    """
    n_replicas = strategy.num_replicas_in_sync
    share, left_over = divmod(stage.batch_size, n_replicas)
    if left_over:
        raise UserError(
            f"--batch_size={stage.batch_size} cannot be dealt evenly to {n_replicas} "
            "devices."
        )
    if stage.sync_batch_norm and (stage.jit_compile or stage.micro_batch):
        raise UserError(
            "--sync_batch_norm needs all clips at once and devices that talk to each "
            "other inside the model: leave out --jit_compile and --micro_batch."
        )
    if stage.micro_batch and share % stage.micro_batch:
        raise UserError(
            f"--micro_batch={stage.micro_batch} does not divide the {share} clips of a "
            f"device (--batch_size={stage.batch_size} over {n_replicas})."
        )
    embed = _embed_function(state.trained, stage.jit_compile)
    n_micro = share // stage.micro_batch if stage.micro_batch else 1
    trainable = _values(state.trained.trainable_variables)
    statistics = _values(state.trained.non_trainable_variables)

    def loss_of(output: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss, and what a replica differentiates."""
        context = tf.distribute.get_replica_context()
        loss = losses.masked_margin_softmax(
            *(context.all_gather(output[name], 0) for name in EMBEDDINGS), stage.margin
        )
        # The gradients of gathered embeddings sum over the replicas, and so do those
        # of the weights.
        scaled = loss / n_replicas
        if state.loss_scale:
            scaled *= state.loss_scale.scale
        return loss, scaled

    def one_pass(inputs: Batch):
        with tf.GradientTape() as tape:
            output, new_statistics = embed(inputs)
            loss, scaled = loss_of(output)
        return loss, tape.gradient(scaled, trainable), new_statistics

    def cached_gradient(inputs: Batch):
        """Gao et al. 2021 (Scaling Deep Contrastive Learning Batch Size) section 3."""
        parts = {
            name: tf.reshape(
                value, tf.concat([[n_micro, -1], tf.shape(value)[1:]], axis=0)
            )
            for name, value in inputs.items()
        }
        dim = state.trained.output[EMBEDDINGS[0]].shape[-1]
        kept = dict.fromkeys(EMBEDDINGS, tf.TensorSpec([stage.micro_batch, dim]))
        cached = tf.map_fn(
            lambda part: embed(part)[0],
            parts,
            fn_output_signature=kept,
            parallel_iterations=1,
        )
        flat = {name: tf.reshape(value, [-1, dim]) for name, value in cached.items()}
        with tf.GradientTape() as tape:
            tape.watch(flat)
            loss, scaled = loss_of(flat)
        towards = {
            name: tf.reshape(value, [n_micro, -1, dim])
            for name, value in tape.gradient(scaled, flat).items()
        }

        def add(index, sums):
            part = {name: value[index] for name, value in parts.items()}
            with tf.GradientTape() as tape:
                output, new_statistics = embed(part)
            gradients = tape.gradient(
                [output[name] for name in EMBEDDINGS],
                trainable,
                output_gradients=[towards[name][index] for name in EMBEDDINGS],
            )
            terms = gradients + [value / n_micro for value in new_statistics]
            return index + 1, [a + b for a, b in zip(sums, terms, strict=True)]

        zeros = [tf.zeros(v.shape) for v in trainable + statistics]
        _, sums = tf.while_loop(
            lambda index, _: index < n_micro, add, (0, zeros), parallel_iterations=1
        )
        return loss, sums[: len(trainable)], sums[len(trainable) :]

    def replica_step(batch: Batch) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        compute = cached_gradient if stage.micro_batch else one_pass
        inputs = {name: batch[name] for name in state.trained.input}
        loss, gradients, new_statistics = compute(inputs)
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        rate = optimizers.learning_rate(stage, steps_per_epoch, state.step)
        _update(state, stage, gradients, rate)
        new_statistics = context.all_reduce(tf.distribute.ReduceOp.MEAN, new_statistics)
        for variable, value in zip(statistics, new_statistics, strict=True):
            optimizers.write(variable, value)
        if stage.ema_decay:
            _average(state, stage.ema_decay)
        optimizers.write(state.step, state.step + 1)
        return loss

    @tf.function
    def step(batch: Batch) -> tf.Tensor:
        loss = strategy.run(replica_step, (batch,))
        return strategy.experimental_local_results(loss)[0]

    return step


def _embed_function(model: keras.Model, jit_compile: bool):
    """Embeds clips in training mode: (embeddings, the new batch statistics).

    Nothing is assigned inside, so that a clip may be embedded twice, and XLA and
    devices do not get in each other's way.
    """

    def embed(inputs: Batch) -> tuple[Batch, list[tf.Tensor]]:
        output, new_statistics = model.stateless_call(
            _read(model.trainable_variables),
            _read(model.non_trainable_variables),
            inputs,
            training=True,
        )
        output = {
            name: losses.at_least_float32(value) for name, value in output.items()
        }
        return output, new_statistics

    return tf.function(embed, jit_compile=True) if jit_compile else embed


def _update(
    state: TrainState,
    stage: StageConfig,
    gradients: Sequence[tf.Tensor],
    rate: tf.Tensor,
) -> None:
    """Applies gradients that are the same on every replica."""
    trainable = _values(state.trained.trainable_variables)
    finite = tf.constant(True)
    if state.loss_scale:
        gradients = [gradient / state.loss_scale.scale for gradient in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        state.loss_scale.update(finite)
    if stage.clip_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, stage.clip_norm)

    def apply():
        state.optimizer.apply(gradients, trainable, rate)
        return tf.constant(0)

    if state.loss_scale:
        tf.cond(finite, apply, lambda: tf.constant(0))
    else:
        apply()


def _average(state: TrainState, decay: float) -> None:
    """Moves the running average, faster in the first steps than its decay says."""
    done = tf.cast(state.step, tf.float32) + 1
    decay = tf.minimum(decay, done / (done + 9))
    pairs = zip(
        _values(state.model.variables), _values(state.trained.variables), strict=True
    )
    for average, value in pairs:
        optimizers.write(average, average * decay + value * (1 - decay))


def _values(variables: Sequence) -> list[tf.Variable]:
    """TensorFlow's variables inside Keras'."""
    return [variable.value for variable in variables]


def _read(variables: Sequence) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(value) for value in _values(variables)]
