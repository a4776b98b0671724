"""What a training changes: all that a checkpoint has to hold."""

from collections.abc import Callable, Collection, Sequence

import keras
import numpy as np
import tensorflow as tf

from avl_tf.model import by_branch, layers_of
from avl_tf.settings import terms
from avl_tf.settings.stage import StageConfig
from avl_tf.training import optimizers
from avl_tf.training.caption_queue import CaptionQueue
from avl_tf.training.learnt_affine import LearntAffine


class TrainState(tf.Module):
    """What a step changes: weights, batch statistics, slots, counters.

    Made in the strategy's scope; a checkpoint of it is all that a resumed run needs.
    `trained` is the model that learns. `model`, always float32, stands for the run: the
    same one, or its running average, or its copy if `trained` is of mixed precision.
    """

    def __init__(
        self,
        make_model: Callable[[str], keras.Model],
        stage: StageConfig,
        frozen: Collection[str] = (),
        similarity: str = "dot",
    ):
        """Makes the models by make_model(mixed_precision); frozen branches stay.

        similarity: ModelConfig's.
        """
        super().__init__()
        self.similarity = similarity
        self.frozen = frozenset(frozen)
        self.averages = bool(stage.ema_decay)
        self.trained = self.model = make_model(stage.mixed_precision)
        if self.averages or stage.mixed_precision != "off":
            self.model = make_model("off")
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.affine = None
        if stage.loss == "bce":
            learning = [name for name in self.dims if name not in self.frozen]
            n_terms = len(terms.plan(stage, list(self.dims), learning).pairs)
            scale = stage.with_loss_settings().bce_scale or 0.0
            self.affine = LearntAffine(n_terms, scale)
        self.optimizer = optimizers.Adam(self.learning, weight_decay=stage.weight_decay)
        self.loss_scale = None
        if stage.mixed_precision == "float16":
            self.loss_scale = optimizers.LossScale()
        self.queue = None
        if stage.nn_queue:
            self.queue = CaptionQueue(
                stage.nn_queue, {k: n for k, n in self.dims.items() if k != "visual"}
            )

    def settle(self) -> None:
        """Brings `model` up to date; a running average is so after the first step."""
        if self.model is not self.trained and not (self.averages and self.step > 0):
            self.model.set_weights(self.trained.get_weights())

    @property
    def moving(self) -> list[int]:
        """Places, among trained's variables that are not trainable, of statistics.

        The others are of frozen branches and of a frozen image encoder.
        """
        layers = [one for name in self.frozen for one in layers_of(self.trained, name)]
        layers += [one for one in self.trained.layers if not one.trainable]
        still = {id(variable) for layer in layers for variable in layer.variables}
        variables = enumerate(self.trained.non_trainable_variables)
        return [place for place, variable in variables if id(variable) not in still]

    @property
    def dims(self) -> dict[str, int]:
        """The width of each branch's embedding, in the order of the branches."""
        return {k: v.shape[-1] for k, v in by_branch(self.trained.output).items()}

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """The shape of each branch's embedding of a clip: [D], or a map's."""
        return {
            k: tuple(v.shape[1:]) for k, v in by_branch(self.trained.output).items()
        }

    @property
    def learning(self) -> list[tf.Variable]:
        """All that gradients move: the model's weights, then what the loss learns."""
        of_loss = self.affine.trainable_variables if self.affine else ()
        return [*values(self.trained.trainable_variables), *of_loss]

    def not_finite(self) -> bool:
        """Whether any weight, statistic or slot is a NaN or an infinity."""
        learnt = self.affine.variables if self.affine else ()
        held = [*values(self.trained.variables), *learnt, *self.optimizer.variables]
        return not all(np.isfinite(variable.numpy()).all() for variable in held)


def values(variables: Sequence) -> list[tf.Variable]:
    """TensorFlow's variables inside Keras'."""
    return [variable.value for variable in variables]
