"""The gradients of one replica's clips: in one pass, or micro-batch by micro-batch.

The loss needs all embeddings but no activations, so that the batch may be far larger
than what fits in memory.
"""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

Embeddings = Mapping[str, tf.Tensor]
# Embeds clips in training mode: their embeddings by branch, the new batch statistics.
Embed = Callable[[Mapping[str, tf.Tensor]], tuple[Embeddings, list[tf.Tensor]]]
# Embeddings of a replica's clips to its loss terms, and to what it differentiates.
LossOf = Callable[[Embeddings], tuple[dict[str, tf.Tensor], tf.Tensor]]
# Loss terms, gradients, new batch statistics.
Found = tuple[dict[str, tf.Tensor], list[tf.Tensor], list[tf.Tensor]]


def in_one_pass(
    embed: Embed,
    loss_of: LossOf,
    inputs: Mapping[str, tf.Tensor],
    trainable: Sequence[tf.Variable],
) -> Found:
    """Differentiates with the activations of all clips in memory."""
    with tf.GradientTape() as tape:
        embeddings, new_statistics = embed(inputs)
        terms, scaled = loss_of(embeddings)
    return terms, tape.gradient(scaled, trainable), new_statistics


def cached(
    embed: Embed,
    loss_of: LossOf,
    inputs: Mapping[str, tf.Tensor],
    trainable: Sequence[tf.Variable],
    statistics: Sequence[tf.Variable],
    shapes: Mapping[str, tuple[int | None, ...]],
    micro_batch: int,
    learnt: Sequence[tf.Variable] = (),
    rows: Mapping[str, int] | None = None,
) -> Found:
    """Differentiates with the activations of micro_batch clips in memory.

    All clips are embedded, the loss is differentiated with respect to the embeddings,
    and each micro-batch is embedded again to take its part back to the weights. The new
    statistics are the means of the micro-batches'.

    Args:
        shapes: of the embedding of a clip by each branch.
        micro_batch: clips; divides their number.
        learnt: variables of the loss itself, whose gradients stand behind the others.
        rows: how many of an input, and of an embedding, each clip has; 1 if it is not
            named.

    Source: Gao et al. 2021 (Scaling Deep Contrastive Learning Batch Size) section 3.
    """
    n_rows = {
        name: micro_batch * (rows or {}).get(name, 1) for name in (*inputs, *shapes)
    }
    parts = {
        name: tf.reshape(
            value, tf.concat([[-1, n_rows[name]], tf.shape(value)[1:]], axis=0)
        )
        for name, value in inputs.items()
    }
    n_parts = tf.shape(next(iter(parts.values())))[0]
    embeddings = tf.map_fn(
        lambda part: embed(part)[0],
        parts,
        fn_output_signature={
            branch: tf.TensorSpec([n_rows[branch], *shape])
            for branch, shape in shapes.items()
        },
        parallel_iterations=1,
    )

    def split(value, *sizes):
        """The two first dimensions, or one, as others."""
        rest = tf.shape(value)[3 - len(sizes) :]
        return tf.reshape(value, tf.concat([sizes, rest], axis=0))

    flat = {branch: split(value, -1) for branch, value in embeddings.items()}
    with tf.GradientTape() as tape:
        tape.watch(flat)
        terms, scaled = loss_of(flat)
    # A frozen branch may be in no term.
    found, of_loss = tape.gradient(
        scaled, (flat, list(learnt)), unconnected_gradients="zero"
    )
    towards = {
        branch: split(value, -1, n_rows[branch]) for branch, value in found.items()
    }

    def add(index, sums):
        part = {name: value[index] for name, value in parts.items()}
        with tf.GradientTape() as tape:
            found, new_statistics = embed(part)
        gradients = tape.gradient(
            [found[branch] for branch in shapes],
            trainable,
            output_gradients=[towards[branch][index] for branch in shapes],
        )
        shares = [value / tf.cast(n_parts, value.dtype) for value in new_statistics]
        return index + 1, [a + b for a, b in zip(sums, gradients + shares, strict=True)]

    zeros = [tf.zeros(v.shape) for v in [*trainable, *statistics]]
    _, sums = tf.while_loop(
        lambda index, _: index < n_parts, add, (0, zeros), parallel_iterations=1
    )
    n = len(trainable)
    return terms, sums[:n] + of_loss, sums[n:]
