"""From local features to the shared space: pooling over time and projections."""

import keras
import tensorflow as tf

from avl_tf.settings.model import ModelConfig


class MaskPadding(keras.layers.Layer):
    """Sets the log-mel frames [B, T, F] from n_frames [B] on to pad_db.

    The authors pad with 0 dB, which in log-mel relative to the loudest bin is the
    loudest value there is; -80 is silence.
    """

    def __init__(self, pad_db: float, **kwargs):
        super().__init__(**kwargs)
        self.pad_db = pad_db

    def call(self, log_mel, n_frames):
        """Returns the log-mel, [B, T, F]."""
        mask = tf.sequence_mask(n_frames, tf.shape(log_mel)[1])[..., tf.newaxis]
        return tf.where(mask, log_mel, tf.cast(self.pad_db, log_mel.dtype))

    def compute_output_shape(self, log_mel_shape, n_frames_shape):
        """That of the log-mel."""
        return log_mel_shape


class MeanPool(keras.layers.Layer):
    """Averages an audio map [B, T', C] over time to [B, C].

    In evaluation over the steps that hold audio, n_frames // round(T / T'), at least
    one. In training over all steps, padding included, unless mask_in_training or
    frozen (trainable is False).

    Source: authors' model.py. Differs: mask_in_training (as everything_at_once does).
    """

    def __init__(self, mask_in_training: bool, **kwargs):
        super().__init__(**kwargs)
        self.mask_in_training = mask_in_training

    def call(self, audio_map, n_frames, log_mel, training=False):
        """Averages an audio map; of the log-mel [B, T, F] only T is looked at."""
        if training and self.trainable and not self.mask_in_training:
            return tf.reduce_mean(audio_map, axis=1)
        n_steps = tf.shape(audio_map)[1]
        _, valid = self.steps(n_frames, tf.shape(log_mel)[1], n_steps)
        mask = tf.sequence_mask(valid, n_steps, audio_map.dtype)[..., tf.newaxis]
        total = tf.reduce_sum(audio_map * mask, axis=1)
        return total / tf.cast(valid[:, tf.newaxis], audio_map.dtype)

    @staticmethod
    def steps(n_frames, most_frames, n_steps):
        """How many frames a step takes [], and how many steps hold audio [B].

        Of 200 frames in 13 steps each takes 16, as encoders halve and round up; the
        authors count with round(200 / 13), which is 15.
        """
        halved = tf.constant([2**n for n in range(31)], tf.int64)
        short = halved * tf.cast(n_steps, tf.int64) < tf.cast(most_frames, tf.int64)
        taken = halved[tf.math.count_nonzero(short)]
        ratio = tf.cast(tf.round(most_frames / n_steps), n_frames.dtype)
        valid = tf.maximum(1, n_frames // ratio)
        return (
            tf.cast(taken, n_frames.dtype),
            tf.minimum(valid, tf.cast(n_steps, valid.dtype)),
        )

    def compute_output_shape(self, audio_map_shape, n_frames_shape, log_mel_shape):
        """[B, C]."""
        return (audio_map_shape[0], audio_map_shape[2])


class WithSteps(keras.layers.Layer):
    """Adds to an audio map [B, T', C] a feature that is 1 at steps that hold audio.

    Steps are counted as by MeanPool.
    """

    def call(self, audio_map, n_frames, log_mel):
        """Returns [B, T', C + 1]; of the log-mel [B, T, F] only T is looked at."""
        n_steps = tf.shape(audio_map)[1]
        _, valid = MeanPool.steps(n_frames, tf.shape(log_mel)[1], n_steps)
        mask = tf.sequence_mask(valid, n_steps, audio_map.dtype)
        return tf.concat([audio_map, mask[..., tf.newaxis]], axis=2)

    def compute_output_shape(self, audio_map_shape, n_frames_shape, log_mel_shape):
        """[B, T', C + 1]."""
        return (*audio_map_shape[:2], audio_map_shape[2] + 1)


def uniform(fan_in: int, initialize: bool) -> keras.Initializer | str:
    """PyTorch's first values of a layer, U(-1, 1) / sqrt(fan_in); zeros, to be set."""
    limit = fan_in**-0.5
    return keras.initializers.RandomUniform(-limit, limit) if initialize else "zeros"


def linear(
    x: keras.KerasTensor, width: int, name: str, initialize: bool = True
) -> keras.KerasTensor:
    """A linear layer, its first values as uniform has them."""
    kernel, bias = (uniform(x.shape[-1], initialize) for _ in range(2))
    return keras.layers.Dense(
        width, kernel_initializer=kernel, bias_initializer=bias, name=name
    )(x)


def gated_unit(
    x: keras.KerasTensor, width: int, name: str, initialize: bool = True
) -> keras.KerasTensor:
    """Projects [B, C] to [B, width] and re-weights each dimension by a gate.

    Source: Rouditchenko et al. 2021 (AVLnet) Eqs. 1-2; authors' GatedEmbedding.
    """
    projected = linear(x, width, f"{name}_fc", initialize)
    gate = linear(projected, width, f"{name}_gate", initialize)
    gate = keras.layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)
    return keras.layers.Multiply(name=f"{name}_gated")([projected, gate])


def projection(
    x: keras.KerasTensor,
    config: ModelConfig,
    branch: str,
    kind: str,
    initialize: bool = True,
) -> keras.KerasTensor:
    """Projects [B, C] into the shared space without a gate.

    Args:
        x: pooled features.
        config: of embedding_dim and head_hidden_dim.
        branch: audio or visual, the start of the layers' names.
        kind: linear, W x + b; or nonlinear, W2 relu(W1 x + b1) + b2.
        initialize: as linear.

    Source: Rouditchenko et al. 2021 (AVLnet) Table 3, projection heads.
    Unstated: the hidden width.
    """
    out = config.embedding_dim
    if kind == "nonlinear":
        width = config.head_hidden_dim or out
        x = linear(x, width, f"{branch}_hidden", initialize)
        x = keras.layers.ReLU(name=f"{branch}_relu")(x)
    return linear(x, out, f"{branch}_projection", initialize)


def normalized(
    embedding: keras.KerasTensor, config: ModelConfig, name: str
) -> keras.KerasTensor:
    """An embedding [B, D] as the space has it: of length 1 if the config says so."""
    if not config.normalize_embeddings:
        return embedding
    # The sum of the squares may be beyond half precision.
    return keras.layers.UnitNormalization(dtype="float32", name=name)(embedding)
