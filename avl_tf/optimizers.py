"""Adam as PyTorch computes it."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("avl_tf")
class Adam(keras.optimizers.Adam):
    """Adam whose epsilon is added to the bias-corrected root, as in torch.optim.Adam.

    Keras adds it before the correction, which in the first steps is an epsilon some
    thirty times larger: small gradients then take other steps than the authors'.
    """

    def __init__(self, learning_rate, epsilon: float = 1e-8, **kwargs):
        super().__init__(learning_rate, epsilon=epsilon, **kwargs)

    def update_step(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        step = ops.cast(self.iterations + 1, dtype)
        index = self._get_variable_index(variable)
        first, second = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, dtype)
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
        # 1 - beta ** step in single precision would be off by 1e-5 of itself.
        mean = first / -ops.expm1(step * math.log(self.beta_1))
        square = second / -ops.expm1(step * math.log(self.beta_2))
        change = mean / (ops.sqrt(square) + self.epsilon)
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * change)
