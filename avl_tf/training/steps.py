"""One training step over all devices: embed, the loss over the global batch, Adam."""

import functools
import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from avl_tf import losses
from avl_tf.model import by_branch, quantizer
from avl_tf.settings.stage import StageConfig
from avl_tf.training import gradients, optimizers
from avl_tf.training.codebooks import Codebooks
from avl_tf.training.objective import Objective
from avl_tf.training.state import TrainState, values

Batch = dict[str, tf.Tensor]
_SEEN = ("visual", "image")
NORMS = ("gradient_norm", "parameter_norm", "update_norm")


def train_step(
    strategy: tf.distribute.Strategy,
    state: TrainState,
    stage: StageConfig,
    steps_per_epoch: int,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Compiles the training step.

    Args:
        strategy: the one in whose scope state was made.
        state: changed by each call.
        stage: how to train.
        steps_per_epoch: for the learning rate.

    Returns:
        A function (batch, with_norms=False) that takes a step. batch is distributed:
        the model's inputs, each replica's share of the same size. It returns scalars by
        name: "loss" over the global batch; "loss/NAME" for each term of the Objective;
        "perplexity/NAME" of codebooks; "learning_rate"; NORMS, NaN but with_norms: of
        all gradients (before --clip_norm), all weights, and what was added to them.

    Raises:
        ValueError: the batch cannot be dealt evenly to devices or micro-batches, or
            --sync_batch_norm is with --jit_compile or --micro_batch.
    """
    n_replicas = strategy.num_replicas_in_sync
    stage.check_batch(n_replicas)
    dims = state.dims
    learning = [name for name in dims if name not in state.frozen]
    objective = Objective(
        stage, list(dims), learning, state.queue, state.similarity, state.affine
    )
    codebooks = Codebooks(state.trained, state.frozen, stage, state.step, n_replicas)
    shapes = {**state.shapes, **codebooks.shapes}
    embed = _embed_function(state, codebooks, stage.jit_compile)
    trainable = values(state.trained.trainable_variables)
    learnt = state.learning[len(trainable) :]
    # What is heard has a row for each candidate of a clip.
    heard = [name for name in (*state.trained.input, *shapes) if name not in _SEEN]
    rows = dict.fromkeys(heard, max(1, stage.n_candidates))
    variables = values(state.trained.non_trainable_variables)
    statistics = [variables[place] for place in state.moving]

    def loss_of(
        groups: tf.Tensor | None, own: gradients.Embeddings
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """The terms over the global batch, and what a replica differentiates."""
        context = tf.distribute.get_replica_context()
        embeddings = {k: context.all_gather(own[k], 0) for k in shapes}
        if groups is not None:
            groups = context.all_gather(groups, 0)
        terms = objective(embeddings, tf.convert_to_tensor(state.step), groups)
        terms |= codebooks.terms(embeddings)
        if state.queue:
            state.queue.enqueue(embeddings)
        # The gradients of gathered embeddings sum over the replicas, and so do those
        # of the weights.
        scaled = tf.add_n(list(terms.values())) / n_replicas
        if state.loss_scale:
            scaled *= state.loss_scale.scale
        return terms, scaled

    def replica_step(batch: Batch, with_norms: tf.Tensor) -> dict[str, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        inputs = {name: batch[name] for name in state.trained.input}
        if stage.n_candidates:
            inputs = {k: _in_rows(v) if k in rows else v for k, v in inputs.items()}
        groups = batch["group"] if stage.needs_groups else None
        loss = functools.partial(loss_of, groups)
        if stage.micro_batch:
            terms, gradient, new_statistics = gradients.cached(
                embed,
                loss,
                inputs,
                trainable,
                statistics,
                shapes,
                stage.micro_batch,
                learnt,
                rows,
            )
        else:
            terms, gradient, new_statistics = gradients.in_one_pass(
                embed, loss, inputs, [*trainable, *learnt]
            )
        gradient = context.all_reduce(tf.distribute.ReduceOp.SUM, gradient)
        rate = optimizers.learning_rate(stage, steps_per_epoch, state.step)
        norms = _update(state, stage, gradient, rate, with_norms)
        new_statistics = context.all_reduce(tf.distribute.ReduceOp.MEAN, new_statistics)
        settled, perplexities = codebooks.settle(statistics, new_statistics)
        for variable, value in zip(statistics, settled, strict=True):
            optimizers.write(variable, value)
        if stage.ema_decay:
            _average(state, stage.ema_decay)
        optimizers.write(state.step, state.step + 1)
        named = {f"loss/{name}": value for name, value in terms.items()}
        return {
            "loss": tf.add_n(list(terms.values())),
            **named,
            **perplexities,
            "learning_rate": rate,
            **norms,
        }

    @tf.function(autograph=False)
    def step(batch: Batch, with_norms: tf.Tensor) -> dict[str, tf.Tensor]:
        found = strategy.run(replica_step, (batch, with_norms))
        return {k: strategy.experimental_local_results(v)[0] for k, v in found.items()}

    # A tensor: each value of a Python bool would be traced by itself.
    return lambda batch, with_norms=False: step(batch, tf.constant(with_norms))


def _embed_function(state: TrainState, codebooks: Codebooks, jit_compile: bool):
    """Embeds clips in training mode, as gradients.Embed.

    Nothing is assigned inside, so that a clip may be embedded twice, and XLA and
    devices do not get in each other's way.
    """
    model, moving = state.trained, state.moving

    def embed(inputs: Batch) -> tuple[Batch, list[tf.Tensor]]:
        with quantizer.gathered() as found:
            output, new_statistics = model.stateless_call(
                _read(model.trainable_variables),
                _read(model.non_trainable_variables),
                inputs,
                training=True,
            )
        embeddings = {
            name: losses.at_least_float32(
                tf.stop_gradient(value) if name in state.frozen else value
            )
            for name, value in by_branch(output).items()
        }
        rows = codebooks.rows(found)
        return {**embeddings, **rows}, [new_statistics[place] for place in moving]

    if jit_compile:
        return tf.function(embed, autograph=False, jit_compile=True)
    return embed


def _update(
    state: TrainState,
    stage: StageConfig,
    gradient: Sequence[tf.Tensor],
    rate: tf.Tensor,
    with_norms: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Applies a gradient that is the same on every replica; returns NORMS."""
    trainable = state.learning
    finite = tf.constant(True)
    if state.loss_scale:
        gradient = [one / state.loss_scale.scale for one in gradient]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradient])
        state.loss_scale.update(finite)
    applied = gradient
    if stage.clip_norm:
        applied, _ = tf.clip_by_global_norm(gradient, stage.clip_norm)

    def apply():
        state.optimizer.apply(applied, trainable, rate)
        return tf.constant(0)

    if state.loss_scale:
        tf.cond(finite, apply, lambda: tf.constant(0))
    else:
        apply()

    def norms():
        weights = [tf.convert_to_tensor(variable) for variable in trainable]
        # A step that was left out has added nothing.
        update = tf.where(finite, state.optimizer.update_norm(rate), 0.0)
        lengths = (*map(tf.linalg.global_norm, (gradient, weights)), update)
        return [tf.cast(length, tf.float32) for length in lengths]

    # They read all weights and slots again: only for a step that is looked at.
    found = tf.cond(with_norms, norms, lambda: [tf.constant(math.nan)] * len(NORMS))
    return dict(zip(NORMS, found, strict=True))


def _average(state: TrainState, decay: float) -> None:
    """Moves the running average, faster in the first steps than its decay says."""
    done = tf.cast(state.step, tf.float32) + 1
    decay = tf.minimum(decay, done / (done + 9))
    moved = {id(variable) for variable in state.trained.trainable_variables}
    held = state.trained.non_trainable_variables
    moved |= {id(held[place]) for place in state.moving}
    pairs = zip(state.model.variables, state.trained.variables, strict=True)
    for average, value in (
        (ours.value, theirs.value) for ours, theirs in pairs if id(theirs) in moved
    ):
        optimizers.write(average, average * decay + value * (1 - decay))


def _in_rows(value: tf.Tensor) -> tf.Tensor:
    """[B, K, ...] as [B * K, ...]."""
    return tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], axis=0))


def _read(variables: Sequence) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(value) for value in values(variables)]
