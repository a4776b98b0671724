"""Adam as PyTorch computes it, its learning rate, and the scale of float16 losses."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from avl_tf.settings.stage import StageConfig


class Adam(tf.Module):
    """Adam whose epsilon is added to the bias-corrected root, as in torch.optim.Adam.

    Keras adds it before the correction, which in the first steps is an epsilon some
    thirty times larger: small gradients then take other steps than the authors'. Under
    a distribution strategy it is made in the strategy's scope and applied in replica
    context, with gradients that are the same on every replica.
    """

    def __init__(
        self,
        variables: Sequence,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        """Makes the slots, zeros, for variables of TensorFlow (.value of Keras').

        weight_decay times a weight is added to its gradient, as PyTorch's Adam does.
        """
        super().__init__()
        # As the operation sees them in single precision: it takes 1 - beta, and a bias
        # correction of other betas would be off by 1e-5 of itself.
        self.beta_1, self.beta_2 = (float(np.float32(b)) for b in (beta_1, beta_2))
        self.epsilon, self.weight_decay = epsilon, weight_decay
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.first, self.second = (
            [
                tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False)
                for v in variables
            ]
            for _ in range(2)
        )

    def apply(
        self, gradients: Sequence[tf.Tensor], variables: Sequence, learning_rate
    ) -> None:
        """Takes one step; the variables are those it was made for, in their order."""
        size, epsilon = self._corrected(learning_rate, self.count + 1)
        for variable, gradient, first, second in zip(
            variables, gradients, self.first, self.second, strict=True
        ):
            if self.weight_decay:
                gradient += self.weight_decay * tf.convert_to_tensor(variable)
            # The operation's own bias correction is switched off (powers of 0). It
            # writes this replica's copies only, so needs no strategy.
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=tf.zeros([], self._dtype),
                beta2_power=tf.zeros([], self._dtype),
                lr=size,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=epsilon,
                grad=gradient,
            )
        write(self.count, self.count + 1)

    def update_norm(self, learning_rate) -> tf.Tensor:
        """The length of the last step over all variables together, float32 scalar."""
        size, epsilon = self._corrected(learning_rate, self.count)
        taken = [
            tf.convert_to_tensor(first) * size / (tf.sqrt(second) + epsilon)
            for first, second in zip(self.first, self.second, strict=True)
        ]
        return tf.cast(tf.linalg.global_norm(taken), tf.float32)

    @property
    def _dtype(self) -> tf.DType:
        return self.first[0].dtype if self.first else tf.float32

    def _corrected(self, learning_rate, count) -> tuple[tf.Tensor, tf.Tensor]:
        """The learning rate and epsilon of a step (1 = the first), bias-corrected."""
        count = tf.cast(count, self._dtype)
        # 1 - beta ** step in single precision would be off by 1e-5 of itself.
        correction_1 = -tf.math.expm1(count * math.log(self.beta_1))
        root_2 = tf.sqrt(-tf.math.expm1(count * math.log(self.beta_2)))
        size = tf.cast(learning_rate, self._dtype) * root_2 / correction_1
        return size, self.epsilon * root_2


class LossScale(tf.Module):
    """Dynamic loss scaling, without which float16 gradients vanish.

    The scale halves at a gradient that is not finite, whose step is left out, and
    doubles after `patience` good steps.

    Source: Micikevicius et al. 2018 (Mixed Precision Training) section 3.2.
    """

    def __init__(self, initial: float = 2.0**15, patience: int = 2000):
        super().__init__()
        self.patience = patience
        self.scale = tf.Variable(initial, trainable=False)
        self.good_steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def update(self, finite: tf.Tensor) -> None:
        """Takes note of whether this step's gradients were finite."""
        good = tf.where(finite, self.good_steps + 1, 0)
        grown = good >= self.patience
        factor = tf.where(finite, tf.where(grown, 2.0, 1.0), 0.5)
        write(self.scale, tf.clip_by_value(self.scale * factor, 1.0, 2.0**24))
        write(self.good_steps, tf.where(grown, tf.zeros_like(good), good))


def learning_rate(
    stage: StageConfig, steps_per_epoch: int, step: tf.Tensor
) -> tf.Tensor:
    """The learning rate of a step (0 = the first), float32 scalar."""
    done = tf.cast(step, tf.float32)
    rate = tf.constant(stage.learning_rate)
    if stage.final_learning_rate:
        part = tf.minimum(done / max(1, stage.epochs * steps_per_epoch), 1.0)
        fall = 0.5 * (1 + tf.cos(math.pi * part))
        final = stage.final_learning_rate
        rate = final + (rate - final) * fall
    else:
        between = steps_per_epoch * stage.learning_rate_decay_epochs
        rate *= stage.learning_rate_decay ** tf.floor(done / between)
    if stage.warmup_steps:
        rate *= tf.minimum((done + 1) / stage.warmup_steps, 1.0)
    return rate


def write(variable: tf.Variable, value: tf.Tensor) -> None:
    """Assigns this replica's copy, where every replica writes the same value."""
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
