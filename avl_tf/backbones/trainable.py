"""What a network's convolutions have more when it learns: initial values, batch norms.

Frozen networks have their batch norms folded into the convolutions (see folding).
"""

import dataclasses

import keras

from avl_tf.layers import BatchNorm


@dataclasses.dataclass(frozen=True)
class Trainable:
    """How a network that learns is built.

    Attributes:
        width: factor on the channels of all layers.
        initialize: draw initial weights; else they are zeros, to be set.
        sync_batch_norm: batch norm in training is over the images of all replicas.
    """

    width: float = 1.0
    initialize: bool = True
    sync_batch_norm: bool = False

    def convolution(self, fan_out: int, kernel: str = "kernel") -> dict:
        """A convolution's settings: no bias, first values by He et al. 2015.

        Args:
            fan_out: outputs that an input reaches.
            kernel: what its layer calls the kernel.
        """
        normal = keras.initializers.RandomNormal(stddev=(2.0 / fan_out) ** 0.5)
        first = normal if self.initialize else "zeros"
        return {"use_bias": False, f"{kernel}_initializer": first}

    def norm(
        self, x: keras.KerasTensor, name: str, epsilon: float
    ) -> keras.KerasTensor:
        """The batch norm after a convolution."""
        return BatchNorm(epsilon=epsilon, synchronized=self.sync_batch_norm, name=name)(
            x
        )


def scaled(trainable: Trainable | None, channels: int) -> int:
    """The channels of a layer; trainable is None in a frozen network."""
    return max(1, round(channels * trainable.width)) if trainable else channels
