"""Audio encoders: log-mel frames to a map of local audio features.

The ResNets of the papers are one-dimensional over time. They are built here of 2-D
convolutions with kernels of one row, which ran faster than 1-D ones when measured.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from avl_tf.layers import BatchNorm
from avl_tf.model import minimal_filtering as filtering
from avl_tf.model.codebooks import After

KERNEL_WIDTH = filtering.N_TAPS
_FILTERED_SIZE = 128 * 256  # channels in times channels out
_BLOCK = 16  # channels that oneDNN has in a block


class SelfAttention(keras.layers.Layer):
    """Self-attention of one head over [B, T, C], whose output is added to the input.

    Steps behind a clip's end are attended to by none.

    Source: Ohishi et al. 2020 (Trilingual Semantic Embeddings of Visually Grounded
    Speech with Self-Attention Mechanisms), which puts it before the last convolution.
    Unstated: the sum with the input, the scale 1 / sqrt(C), the mask.
    """

    def __init__(self, initialize: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.initialize = initialize

    def build(self, inputs_shape, n_frames_shape=None, log_mel_shape=None):
        """Makes the projections, each [C, C]."""
        width = inputs_shape[-1]
        limit = width**-0.5
        uniform = keras.initializers.RandomUniform(-limit, limit)
        self.projections = [
            self.add_weight(
                shape=(width, width),
                initializer=uniform if self.initialize else "zeros",
                name=name,
            )
            for name in ("query", "key", "value", "output")
        ]

    def call(self, inputs, n_frames, log_mel):
        """Attends over [B, T, C]; of the log-mel [B, T', F] only T' is looked at."""
        query, key, value = (
            tf.matmul(inputs, tf.convert_to_tensor(weight))
            for weight in self.projections[:3]
        )
        n_steps = tf.shape(inputs)[1]
        ratio = tf.cast(tf.round(tf.shape(log_mel)[1] / n_steps), n_frames.dtype)
        inside = tf.sequence_mask(tf.maximum(1, -(-n_frames // ratio)), n_steps)
        scores = tf.matmul(query, key, transpose_b=True) * inputs.shape[-1] ** -0.5
        scores = tf.where(inside[:, tf.newaxis], scores, scores.dtype.min)
        heard = tf.matmul(tf.nn.softmax(scores), value)
        return inputs + tf.matmul(heard, tf.convert_to_tensor(self.projections[3]))

    def compute_output_shape(self, inputs_shape, n_frames_shape, log_mel_shape):
        """That of the inputs."""
        return inputs_shape


class TimeConv(keras.layers.Conv2D):
    """Convolution over [B, 1, T, C]; wide ones by minimal filtering, if so.

    TensorFlow's own takes two to three times as long there on CPUs (docs/performance.md
    has the figures). In half precision, whose errors it would make larger, it is not
    used.
    """

    def __init__(self, *args, minimal_filtering: bool = False, **kwargs):
        super().__init__(*args, **kwargs)
        self.minimal_filtering = minimal_filtering

    def call(self, inputs):
        """Convolves [B, 1, T, C] to [B, 1, T', filters]."""
        kernel = tf.convert_to_tensor(self.kernel)
        if (
            self.minimal_filtering
            and self.kernel_size == (1, KERNEL_WIDTH)
            and kernel.shape[-2] * kernel.shape[-1] >= _FILTERED_SIZE
            and self.compute_dtype == "float32"
        ):
            if (self.strides, self.padding) == ((1, 1), "same"):
                return filtering.convolve(inputs, kernel)
            if (self.strides, self.padding) == ((1, 2), "valid"):
                return filtering.convolve_by_two(inputs, kernel)
        few = kernel.shape[-2] < _BLOCK
        if few and self.strides == (1, 2) and self.kernel_size == (1, 1):
            # Of few channels and an odd number of clips, the gradient of a 1 x 1 kernel
            # with a stride writes where it must not (TensorFlow 2.16 with oneDNN).
            return tf.nn.conv2d(inputs[:, :, ::2], kernel, 1, "SAME")
        return super().call(inputs)


def resdavenet(
    log_mel: keras.KerasTensor,
    widths: Sequence[int],
    blocks_per_stage: int,
    initialize: bool = True,
    sync_batch_norm: bool = False,
    minimal_filtering: bool = False,
    attention_n_frames: keras.KerasTensor | None = None,
    after: After = lambda x, position: x,
) -> keras.KerasTensor:
    """Builds ResDAVEnet on log-mel frames.

    Args:
        log_mel: [B, T, F].
        widths: channels of the first layer and of each of the stages.
        blocks_per_stage: residual blocks in each stage; the first halves the time.
        initialize: draw initial weights; else they are zeros, to be set.
        sync_batch_norm: batch norm in training is over the clips of all replicas.
        minimal_filtering: see TimeConv.
        attention_n_frames: [B], the clips' true lengths, for SelfAttention before the
            last stage; None is without.
        after: what follows the first convolution, as 1, and each stage, from 2 on.

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
        return TimeConv(
            width,
            (1, kernel_width),
            strides=(1, stride),
            padding="valid" if explicit else "same",
            use_bias=False,
            kernel_initializer=normal if initialize else "zeros",
            minimal_filtering=minimal_filtering,
            name=name,
        )(x)

    def norm(x, name):
        return BatchNorm(synchronized=sync_batch_norm, name=name)(x)

    def basic_block(x, width, stride, name):
        y = conv(x, width, KERNEL_WIDTH, stride, f"{name}_conv1")
        y = keras.layers.ReLU()(norm(y, f"{name}_bn1"))
        y = conv(y, width, KERNEL_WIDTH, 1, f"{name}_conv2")
        y = norm(y, f"{name}_bn2")
        if stride != 1 or x.shape[-1] != width:
            x = conv(x, width, 1, stride, f"{name}_downsample_conv")
            x = norm(x, f"{name}_downsample_bn")
        return keras.layers.ReLU()(keras.layers.Add()([y, x]))

    x = keras.layers.Reshape((1, -1, log_mel.shape[-1]), name="as_row")(log_mel)
    # Their 40 x 1 kernel over [F, T] is a 1 x 1 kernel with F input channels.
    fan_out = log_mel.shape[-1] * widths[0]
    x = conv(x, widths[0], 1, 1, "conv1", fan_out)
    x = after(keras.layers.ReLU()(norm(x, "bn1")), 1)
    for stage, width in enumerate(widths[1:], 1):
        if attention_n_frames is not None and stage == len(widths) - 1:
            steps = keras.layers.Reshape((-1, x.shape[-1]), name="attention_in")(x)
            steps = SelfAttention(initialize, name="attention")(
                steps, attention_n_frames, log_mel
            )
            x = keras.layers.Reshape((1, -1, x.shape[-1]), name="attention_out")(steps)
        for block in range(blocks_per_stage):
            stride = 2 if block == 0 else 1
            x = basic_block(x, width, stride, f"layer{stage}_{block}")
        x = after(x, stage + 1)
    return keras.layers.Reshape((-1, widths[-1]), name="audio_map")(x)
