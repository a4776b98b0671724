"""Codebooks of ResDAVEnet-VQ: each local audio feature becomes one of K codes."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf


class _Gathered(threading.local):
    """Of each thread its own: the replicas of a strategy run in threads."""

    by_layer: dict["VectorQuantizer", tf.Tensor] | None = None


_GATHERED = _Gathered()


@contextlib.contextmanager
def gathered() -> Iterator[dict["VectorQuantizer", tf.Tensor]]:
    """Gathers the losses of quantisers that are called in training inside the block.

    Yields:
        A dict that fills: by layer float32 [B, 2], a clip's loss summed over its valid
        frames, and how many these are; quantization_loss makes a mean of them. Of a
        layer that hears several languages it is their sum.
    """
    found: dict[VectorQuantizer, tf.Tensor] = {}
    _GATHERED.by_layer = found
    try:
        yield found
    finally:
        _GATHERED.by_layer = None


def quantization_loss(rows: tf.Tensor) -> tf.Tensor:
    """The mean over all valid frames of clips [B, 2], as gathered has them."""
    sums = tf.reduce_sum(rows, axis=0)
    return sums[0] / tf.maximum(sums[1], 1.0)


class VectorQuantizer(keras.layers.Layer):
    """Replaces each vector of [B, 1, T, D] by the nearest of K codes, by squared L2.

    In evaluation the output is the code itself. In training it is so in value, and the
    gradient goes straight through to the input; codes learn by no gradient but as
    running means of the vectors that they stand for. A call in training adds the
    batch's counts and sums to them, and `settled` makes codes of these afterwards, so
    that the batch itself is quantised with the codes of before. Frames behind a clip's
    end are quantised but neither learnt from nor in the loss.

    The additions are linear: with n_shares, in how many equal parts the global batch is
    dealt to replicas and micro-batches, the mean of the parts' new statistics is what
    the whole batch's would be.

    Attributes:
        embedding: float32 [K, D], the codes. ema_w, ema_cluster_size: [K, D] and [K],
            running sums of vectors and their counts.
        n_shares: see above.

    Source: Harwath et al. 2020 (Learning Hierarchical Discrete Linguistic Units from
        Visually-Grounded Speech); authors' models/quantizers.py.
    Differs: a clip of no whole frame has no frame in the loss, not a NaN.
    """

    def __init__(
        self,
        n_codes: int,
        commitment_cost: float = 1.0,
        decay: float = 0.99,
        epsilon: float = 1e-8,
        initialize: bool = True,
        **kwargs,
    ):
        """New codes are drawn from N(0, 1), or zeros, to be set."""
        super().__init__(**kwargs)
        self.n_codes, self.commitment_cost = n_codes, commitment_cost
        self.decay, self.epsilon, self.initialize = decay, epsilon, initialize
        self.n_shares = 1

    def build(self, inputs_shape, n_frames_shape=None, log_mel_shape=None):
        """Makes the codes and their running sums, which are no weights to be learnt."""
        # Of one initializer, both draw the same.
        normal = keras.initializers.RandomNormal(stddev=1.0)
        drawn = normal if self.initialize else "zeros"
        shape = (self.n_codes, inputs_shape[-1])

        def add(name, shape, initializer):
            return self.add_weight(
                shape=shape,
                initializer=initializer,
                name=name,
                trainable=False,
                autocast=False,
            )

        self.embedding = add("embedding", shape, drawn)
        self.ema_w = add("ema_w", shape, drawn)
        self.ema_cluster_size = add("ema_cluster_size", (self.n_codes,), "ones")

    def call(self, inputs, n_frames, log_mel, training=False):
        """Quantises [B, 1, T, D]; of the log-mel [B, T', F] only T' is looked at.

        A frozen layer (trainable is False) is as in evaluation.
        """
        inputs = tf.cast(inputs, self.variable_dtype)  # half precision is too coarse
        codes = self.codes(inputs)
        quantized = tf.gather(tf.convert_to_tensor(self.embedding), codes)
        if training and self.trainable:
            n_steps = tf.shape(inputs)[2]
            ratio = tf.round(tf.shape(log_mel)[1] / n_steps)
            n_valid = n_frames // tf.cast(ratio, n_frames.dtype)
            inside = tf.sequence_mask(n_valid, n_steps)[:, tf.newaxis]
            self._learn(inputs, codes, inside)
            self._gather(inputs, quantized, inside)
            quantized = inputs + tf.stop_gradient(quantized - inputs)
        return tf.cast(quantized, self.compute_dtype)

    def codes(self, inputs: tf.Tensor) -> tf.Tensor:
        """The nearest codes int32 [...] of vectors [..., D]."""
        embedding = tf.convert_to_tensor(self.embedding)
        flat = tf.reshape(inputs, [-1, embedding.shape[-1]])
        # Without the square of the vector itself, which is the same for all codes.
        distances = tf.reduce_sum(embedding**2, axis=1) - 2 * tf.matmul(
            flat, embedding, transpose_b=True
        )
        nearest = tf.argmin(distances, axis=1, output_type=tf.int32)
        return tf.reshape(nearest, tf.shape(inputs)[:-1])

    def _learn(self, inputs, codes, inside):
        """Adds the valid frames to the running sums and counts, not settled yet."""
        vectors = tf.stop_gradient(tf.reshape(inputs, [-1, inputs.shape[-1]]))
        # A negative code is none.
        of = tf.reshape(tf.where(inside, codes, -1), [-1])
        sums = tf.math.unsorted_segment_sum(vectors, of, self.n_codes)
        ones = tf.ones(tf.shape(of), vectors.dtype)
        counts = tf.math.unsorted_segment_sum(ones, of, self.n_codes)
        for running, new in ((self.ema_w, sums), (self.ema_cluster_size, counts)):
            share = (1 - self.decay) * self.n_shares
            running.assign(tf.convert_to_tensor(running) * self.decay + new * share)
        # A value of this replica's own, as all that replicas have the mean of.
        self.embedding.assign(tf.identity(self.embedding))

    def _gather(self, inputs, quantized, inside):
        """Leaves the clips' losses to `gathered`, if it is around."""
        if _GATHERED.by_layer is None:
            return
        errors = tf.reduce_mean((tf.stop_gradient(quantized) - inputs) ** 2, axis=-1)
        valid = tf.cast(inside, errors.dtype)
        both = [self.commitment_cost * errors * valid, valid]
        rows = tf.stack([tf.reduce_sum(one, axis=[1, 2]) for one in both], axis=1)
        before = _GATHERED.by_layer.get(self, 0.0)
        _GATHERED.by_layer[self] = before + tf.cast(rows, tf.float32)

    def settled(
        self, ema_w: tf.Tensor, ema_cluster_size: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The codes and the smoothed counts, of sums and counts of after a batch."""
        total = tf.reduce_sum(ema_cluster_size)
        smoothed = ema_cluster_size + self.epsilon
        smoothed *= total / (total + self.n_codes * self.epsilon)
        return ema_w / smoothed[:, tf.newaxis], smoothed

    def settle(self) -> None:
        """Makes new codes of what was called in training since the last time."""
        codes, sizes = self.settled(self.ema_w.value, self.ema_cluster_size.value)
        self.embedding.assign(codes)
        self.ema_cluster_size.assign(sizes)

    def compute_output_shape(self, inputs_shape, n_frames_shape, log_mel_shape):
        """That of the inputs."""
        return inputs_shape


def perplexity(counts: tf.Tensor) -> tf.Tensor:
    """How many codes are in use: the exponential of the entropy of counts [K]."""
    shares = counts / tf.maximum(tf.reduce_sum(counts), 1e-10)
    return tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares)))


class TemporalJitter(keras.layers.Layer):
    """Takes each step of [B, 1, T, D] from one of its neighbours now and then.

    One draw a step for the whole batch, in training only: output[t] = input[t + draw]
    within the map. compat="paper": draws -1, 0, 1 with the probabilities p, 1 - 2p, p.
    "official", the authors' code: 0, 1, 2 with the same, so that the whole map also
    moves one step earlier.

    Attributes:
        seed: a function of two numbers, int64 [2], that change from step to step.

    Source: Harwath et al. 2020 section 3.1; authors' TemporalJitter.
    """

    def __init__(self, probability: float, compat: str = "official", **kwargs):
        super().__init__(**kwargs)
        self.probability, self.compat = probability, compat
        self.seed: Callable[[], tf.Tensor] = lambda: tf.random.uniform(
            [2], maxval=tf.int64.max, dtype=tf.int64
        )

    def call(self, inputs, training=False):
        """Jitters [B, 1, T, D]; a frozen layer (trainable is False) does nothing."""
        if not training or not self.trainable:
            return inputs
        n_steps, p = tf.shape(inputs)[2], self.probability
        drawn = tf.random.stateless_uniform([n_steps], self.seed())
        draws = tf.cast(drawn >= p, tf.int32) + tf.cast(drawn >= 1 - p, tf.int32)
        return self.shifted(inputs, draws)

    def shifted(self, inputs: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Applies draws, 0, 1 or 2 int32 [T]; "paper" takes one off."""
        if self.compat == "paper":
            draws -= 1
        n_steps = tf.shape(inputs)[2]
        taken = tf.clip_by_value(tf.range(n_steps) + draws, 0, n_steps - 1)
        return tf.gather(inputs, taken, axis=2)

    def compute_output_shape(self, inputs_shape):
        """That of the inputs."""
        return inputs_shape
