"""What a stage's weights are before its first step: random, a file's, other runs'."""

from collections.abc import Mapping, Sequence

import keras
from absl import logging

from avl_tf import runs
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, image_encoder, layers_of
from avl_tf.model.quantizer import VectorQuantizer
from avl_tf.settings import branches
from avl_tf.settings.branches import Start


def load(
    model: keras.Model,
    config: ModelConfig,
    image_weights: str,
    starts: Mapping[str, Start],
    languages: Sequence[str],
) -> None:
    """Sets those of a new model's weights that are not to be random.

    Args:
        model: of build_model, its weights drawn.
        config: the model's.
        image_weights: as image_encoder.load_weights; an image encoder of the run that
            the visual branch starts from goes before. "" is none.
        starts: where branches start from, as admission.run_info lets pass.
        languages: of the records.

    Raises:
        ValueError: image_weights do not fit or have no place; or the visual branch
            starts from a run of frozen features, and image_weights do not say of which
            network.
        FileNotFoundError: there is no such file, or a run has no checkpoint.
    """
    loaded = {
        run: runs.load_model(run) for run in {s.run: None for s in starts.values()}
    }
    before = loaded[starts["visual"].run][1] if "visual" in starts else None
    if config.image_encoder and not (before and before.model.image_encoder):
        if image_weights:
            encoder = model.get_layer(image_encoder.LAYER)
            image_encoder.load_weights(encoder, config.image_encoder, image_weights)
        elif before:
            raise UserError(
                f"{starts['visual'].run} was trained on frozen features of "
                f"{config.image_encoder}: give the file of its weights by "
                "--image_weights."
            )
    elif image_weights and not config.image_encoder:
        raise UserError("--image_weights needs an --image_encoder to be of.")
    for name, start in starts.items():
        parent, info = loaded[start.run]
        source = branches.source_of(name, start, info.model.branches, languages)
        # By name: the run may have no image encoder, which counts as a layer.
        ours = {layer.name: layer for layer in layers_of(model, name)}
        theirs = {layer.name: layer for layer in layers_of(parent, source)}
        for layer_name, layer in theirs.items():
            ours[layer_name].set_weights(layer.get_weights())
        new = [k for k, one in ours.items() if isinstance(one, VectorQuantizer)]
        if new := [layer_name for layer_name in new if layer_name not in theirs]:
            logging.info(
                "%s: the codebooks %s are new, their codes drawn at random; %s has "
                "none there.",
                name,
                ", ".join(new),
                start.run,
            )
