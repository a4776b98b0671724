"""What a stage's weights are before its first step: random, a file's, its parent's."""

import keras

from avl_tf import runs
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, image_encoder


def load(
    model: keras.Model, config: ModelConfig, image_weights: str, init_from: str | None
) -> None:
    """Sets those of a new model's weights that are not to be random.

    Args:
        model: of build_model, its weights drawn.
        config: the model's.
        image_weights: as image_encoder.load_weights; an image encoder of the parent's
            goes before. "" is none.
        init_from: run directory of the parent, of a model as admission.run_info lets
            pass.

    Raises:
        ValueError: image_weights do not fit or have no place; or the parent was trained
            on frozen features, and image_weights do not say of which network.
        FileNotFoundError: there is no such file, or the parent has no checkpoint.
    """
    parent, info = runs.load_model(init_from) if init_from else (None, None)
    if config.image_encoder and not (info and info.model.image_encoder):
        if image_weights:
            encoder = model.get_layer(image_encoder.LAYER)
            image_encoder.load_weights(encoder, config.image_encoder, image_weights)
        elif parent:
            raise UserError(
                f"{init_from} was trained on frozen features of {config.image_encoder}:"
                " give the file of its weights by --image_weights."
            )
    elif image_weights and not config.image_encoder:
        raise UserError("--image_weights needs an --image_encoder to be of.")
    # By name: the parent may have no image encoder, which counts as a layer.
    for layer in parent.layers if parent else ():
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
