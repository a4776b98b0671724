"""Layers that the audio and the image encoders have in common."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers that are made in the block have this policy, not the process's own.

    They have our order of axes and type of inputs too, whatever a user has set since
    the import of avl_tf (keras_settings pins what was set before).
    """
    policy, config = keras.config.dtype_policy(), keras.config
    floatx, data_format = config.floatx(), config.image_data_format()
    config.set_floatx("float32")
    config.set_image_data_format("channels_last")
    config.set_dtype_policy(name)
    try:
        yield
    finally:
        config.set_dtype_policy(policy)
        config.set_image_data_format(data_format)
        config.set_floatx(floatx)


class BatchNorm(keras.layers.Layer):
    """Batch normalisation over [B, 1, T, C] as PyTorch does it.

    The running variance is the unbiased one, unlike keras.layers.BatchNormalization's.
    Padding frames count, as the authors'. TensorFlow's fused kernel does it, but in
    training not for float64, a single channel or moments over several replicas.
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        synchronized: bool = False,
        **kwargs,
    ):
        """Synchronized: over the batches of all replicas; otherwise over each's own."""
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.synchronized = synchronized

    def build(self, input_shape):
        """Makes the weights and the running statistics, each [C]."""

        def add(name, initializer, trainable):
            return self.add_weight(
                shape=(input_shape[-1],),
                initializer=initializer,
                name=name,
                trainable=trainable,
                autocast=False,
            )

        self.gamma, self.beta = add("gamma", "ones", True), add("beta", "zeros", True)
        self.moving_mean = add("moving_mean", "zeros", False)
        self.moving_variance = add("moving_variance", "ones", False)

    def call(self, inputs, training=False):
        """Normalises [B, 1, T, C], in training by the batch's own statistics.

        A frozen layer (trainable is False) is as in evaluation.
        """
        inputs = tf.cast(inputs, self.variable_dtype)  # half precision is too coarse
        gamma, beta, running_mean, running_variance = (
            tf.convert_to_tensor(weight)
            for weight in (
                self.gamma,
                self.beta,
                self.moving_mean,
                self.moving_variance,
            )
        )
        fused = tf.compat.v1.nn.fused_batch_norm
        if not (training and self.trainable):
            given = running_mean, running_variance, self.epsilon
            outputs, _, _ = fused(inputs, gamma, beta, *given, is_training=False)
        elif self._is_fused(inputs):
            outputs, mean, unbiased = fused(inputs, gamma, beta, epsilon=self.epsilon)
            self._move(mean, unbiased)
        else:
            mean, variance = self._moments(inputs)
            scale = tf.math.rsqrt(variance + self.epsilon) * gamma
            # The mean is taken off first: the sum of two large terms loses digits.
            outputs = (inputs - mean) * scale + beta
        return tf.cast(outputs, self.compute_dtype)

    def _is_fused(self, inputs):
        # Of a single channel (DAVEnet's) the kernel's sum of all loses digits.
        return (
            inputs.dtype == tf.float32
            and inputs.shape[-1] > 1
            and not self._is_shared()
        )

    def _is_shared(self):
        """Whether moments are over several replicas, whose context this is then."""
        return (
            self.synchronized
            and tf.distribute.get_replica_context().num_replicas_in_sync > 1
        )

    def _moments(self, inputs):
        """Mean and variance of a batch; the running ones move towards them."""
        mean, variance = tf.nn.moments(inputs, [0, 1, 2])
        n = tf.size(inputs, tf.int64) // tf.size(mean, tf.int64)
        n = tf.cast(n, mean.dtype)
        if self._is_shared():
            replica = tf.distribute.get_replica_context()
            own_mean = mean
            mean = replica.all_reduce("MEAN", own_mean)
            spread = tf.math.squared_difference(own_mean, mean)
            variance = replica.all_reduce("MEAN", variance + spread)
            n *= replica.num_replicas_in_sync
        self._move(mean, variance * n / tf.maximum(n - 1, 1))
        return mean, variance

    def _move(self, mean, variance):
        """The running statistics go towards a batch's, whose variance is unbiased."""
        for running, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            running.assign(running * self.momentum + value * (1 - self.momentum))

    def compute_output_shape(self, input_shape):
        """That of the inputs."""
        return input_shape
