"""The frozen CNNs that a model of features sees by."""

from collections.abc import Mapping

from avl_tf.backbones import Backbone, load_backbone
from avl_tf.errors import UserError
from avl_tf.runs import RunInfo


def backbones(
    info: RunInfo,
    weights: Mapping[str, str],
    advice: str = "as avl_tf.load(..., {}=FILE)",
) -> dict[str, Backbone]:
    """Loads the CNNs of a run's records.

    Args:
        info: of the run.
        weights: files of their weights by stream, features_2d and features_3d; "" for
            a backbone's own.
        advice: how a user gives weights; {} stands for weights_2d or weights_3d.

    Returns:
        By stream, 2D first.

    Raises:
        UserError: one cannot be loaded, or makes other features than the records have.
    """
    found = {}
    for name, file in weights.items():
        stream = getattr(info, name)
        if stream is None:
            continue
        try:
            backbone = load_backbone(stream.backbone, file or None)
        except (UserError, OSError) as error:
            argument = name.replace("features", "weights")
            raise UserError(
                f"the model sees by features of {stream.backbone}, which cannot be "
                f"loaded: {error} Give its weights {advice.format(argument)}."
            ) from error
        rate_hz = backbone.rate_hz
        # Vectors that were pooled before they came into records have no rate.
        if backbone.feature_dim != stream.dim or stream.rate_hz not in (0, rate_hz):
            raise UserError(
                f"{stream.backbone} makes {backbone.feature_dim} features, "
                f"{rate_hz} times a second; the model's records have {stream.dim}, "
                f"{stream.rate_hz} times."
            )
        found[name] = backbone
    return found
