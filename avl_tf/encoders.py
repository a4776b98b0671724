"""Audio encoders: log-mel frames to a map of local audio features.

The ResNets of the papers are one-dimensional over time. They are built here of 2-D
convolutions with kernels of one row, which ran faster than 1-D ones when measured.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

KERNEL_WIDTH = 9


@keras.saving.register_keras_serializable("avl_tf")
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over [B, 1, T, C] as PyTorch does it.

    The running variance is the unbiased one, unlike keras.layers.BatchNormalization's.
    Padding frames count, as the authors'. TensorFlow's fused kernel is no faster in a
    training step on a CPU, and its rounding errors move the embeddings after five Adam
    steps by 2 % (0.02 % here; tests/test_release.py has the case).
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape, initializer="zeros", name="beta")
        running = {"trainable": False, "aggregation": "mean"}
        self.moving_mean = self.add_weight(
            shape=shape, initializer="zeros", name="moving_mean", **running
        )
        self.moving_variance = self.add_weight(
            shape=shape, initializer="ones", name="moving_variance", **running
        )

    def call(self, inputs, training=False):
        if training:
            mean, variance = tf.nn.moments(inputs, [0, 1, 2])
            n = tf.cast(tf.size(inputs) // tf.size(mean), variance.dtype)
            unbiased = variance * n / tf.maximum(n - 1, 1)
            for average, value in (
                (self.moving_mean, mean),
                (self.moving_variance, unbiased),
            ):
                average.assign(average * self.momentum + value * (1 - self.momentum))
        else:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
        scale = tf.math.rsqrt(variance + self.epsilon) * self.gamma
        # The mean is taken off first: the sum of two large terms would lose digits.
        return (inputs - mean) * scale + self.beta

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        return {**config, "momentum": self.momentum, "epsilon": self.epsilon}


def resdavenet(
    log_mel: keras.KerasTensor,
    widths: Sequence[int],
    blocks_per_stage: int,
    initialize: bool = True,
) -> keras.KerasTensor:
    """Builds ResDAVEnet on log-mel frames.

    Args:
        log_mel: [B, T, F].
        widths: channels of the first layer and of each of the stages.
        blocks_per_stage: residual blocks in each stage; the first halves the time.
        initialize: draw initial weights; else they are zeros, to be set.

    Returns:
        [B, T', widths[-1]] with T' = ceil(T / 2**stages): 160 ms a step by default.

    Source: Rouditchenko et al. 2021 (AVLnet) section 2.1; authors' model_davenet.py.
    Differs: the batch norm over the raw spectrogram, which the authors' state has but
        their forward pass never calls, is not built.
    """

    def conv(x, width, kernel_width, stride, name, fan_out=None):
        """The authors' convolution: padding 4 + 4 (none for width 1), no bias."""
        # "same" with stride 2 pads 3 + 4, so the padding is explicit there.
        margin = (kernel_width - 1) // 2
        explicit = stride > 1 and margin > 0
        if explicit:
            padding = ((0, 0), (margin, margin))
            x = keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
        deviation = (2.0 / (fan_out or kernel_width * width)) ** 0.5
        normal = keras.initializers.RandomNormal(stddev=deviation)
        return keras.layers.Conv2D(
            width,
            (1, kernel_width),
            strides=(1, stride),
            padding="valid" if explicit else "same",
            use_bias=False,
            kernel_initializer=normal if initialize else "zeros",
            name=name,
        )(x)

    def basic_block(x, width, stride, name):
        y = conv(x, width, KERNEL_WIDTH, stride, f"{name}_conv1")
        y = keras.layers.ReLU()(BatchNorm(name=f"{name}_bn1")(y))
        y = conv(y, width, KERNEL_WIDTH, 1, f"{name}_conv2")
        y = BatchNorm(name=f"{name}_bn2")(y)
        if stride != 1 or x.shape[-1] != width:
            x = conv(x, width, 1, stride, f"{name}_downsample_conv")
            x = BatchNorm(name=f"{name}_downsample_bn")(x)
        return keras.layers.ReLU()(keras.layers.Add()([y, x]))

    x = keras.layers.Reshape((1, -1, log_mel.shape[-1]), name="as_row")(log_mel)
    # Their 40 x 1 kernel over [F, T] is a 1 x 1 kernel with F input channels.
    fan_out = log_mel.shape[-1] * widths[0]
    x = conv(x, widths[0], 1, 1, "conv1", fan_out)
    x = keras.layers.ReLU()(BatchNorm(name="bn1")(x))
    for stage, width in enumerate(widths[1:], 1):
        for block in range(blocks_per_stage):
            stride = 2 if block == 0 else 1
            x = basic_block(x, width, stride, f"layer{stage}_{block}")
    return keras.layers.Reshape((-1, widths[-1]), name="audio_map")(x)
