"""DAVEnet's audio encoder: log-mel frames to a map of local audio features."""

import itertools
from collections.abc import Sequence

import keras

from avl_tf.errors import UserError
from avl_tf.layers import BatchNorm
from avl_tf.model import heads

# Frames that each convolution sees, and whether a pooling halves the time after it.
LAYERS = ((1, False), (11, True), (17, True), (17, True), (17, True))


def davenet(
    log_mel: keras.KerasTensor,
    widths: Sequence[int],
    initialize: bool = True,
    sync_batch_norm: bool = False,
) -> keras.KerasTensor:
    """Builds DAVEnet's audio encoder on log-mel frames.

    Args:
        log_mel: [B, T, F].
        widths: channels of the five convolutions (the authors' 128, 256, 512, 512,
            1024).
        initialize: draw initial weights; else they are zeros, to be set.
        sync_batch_norm: batch norm in training is over the clips of all replicas.

    Returns:
        [B, T', widths[-1]] with T' = ceil(T / 16): 160 ms a step.

    Raises:
        UserError: there are not five widths.

    Source: Harwath et al. 2018 (Jointly Discovering Visual Objects and Spoken Words)
        section 3.2; authors' DAVEnet-pytorch models/AudioModels.py.
    Differs: nothing, to 1e-5 of the largest value.
    """
    if len(widths) != len(LAYERS):
        raise UserError(
            f"--audio_encoder=davenet needs an --audio_widths of {len(LAYERS)} "
            f"numbers, one for each convolution; got {widths}."
        )
    n_mels = log_mel.shape[-1]
    # One mean and variance over all frames and mel bins; padding counts.
    x = keras.layers.Reshape((1, -1, 1), name="davenet_values")(log_mel)
    x = BatchNorm(synchronized=sync_batch_norm, name="davenet_bn")(x)
    x = keras.layers.Reshape((1, -1, n_mels), name="davenet_row")(x)
    for layer, ((kernel, pools), width) in enumerate(
        zip(LAYERS, widths, strict=True), 1
    ):
        fan_in = kernel * x.shape[-1]
        x = keras.layers.Conv2D(
            width,
            (1, kernel),
            padding="same",
            activation="relu",
            kernel_initializer=heads.uniform(fan_in, initialize),
            bias_initializer=heads.uniform(fan_in, initialize),
            name=f"davenet_conv{layer}",
        )(x)
        if pools:
            # "same" would pad an even number of frames on the right alone. Zeros are
            # as good as PyTorch's minus infinity: nothing is below.
            pad, pool = f"davenet_pad{layer}", f"davenet_pool{layer}"
            x = keras.layers.ZeroPadding2D(((0, 0), (1, 1)), name=pad)(x)
            x = keras.layers.MaxPooling2D((1, 3), (1, 2), name=pool)(x)
    return keras.layers.Reshape((-1, widths[-1]), name="audio_map")(x)


def n_weights(n_mels: int, widths: Sequence[int]) -> int:
    """How many weights the convolutions have, without biases."""
    channels = itertools.pairwise((n_mels, *widths))
    kernels = (kernel for kernel, _ in LAYERS)
    return sum(
        a * b * kernel for (a, b), kernel in zip(channels, kernels, strict=False)
    )
