"""Whether branches may start from the runs that they name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from avl_tf import comma_lists, runs, settings
from avl_tf.dataset import Records
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, codebooks
from avl_tf.settings import branches
from avl_tf.settings.branches import Start

# Settings that shape the weights of the one branch only, or of the others.
_SEEN = ("image_encoder", "image_width", "visual_head")
_OF_BOTH = ("embedding_dim", "head_hidden_dim", "similarity")


def require_fitting(
    run: str,
    parent: runs.RunInfo,
    records: Records,
    model_config: ModelConfig,
    starts: Mapping[str, Start],
) -> None:
    """Raises ValueError if branches cannot start from a run."""
    taken = {
        branches.source_of(name, start, parent.model.branches, records.spoken)
        for name, start in starts.items()
        if start.run == run
    }
    sees, hears = "visual" in taken, bool(taken - {"visual"})
    before = _as_trainable(parent, model_config.image_encoder)
    if hears:
        model = codebooks.grown(before.model, model_config)
        before = dataclasses.replace(before, model=model)
    for name in settings.shaping(ModelConfig):
        ours, theirs = getattr(model_config, name), getattr(before.model, name)
        shapes = name in _OF_BOTH or (sees if name in _SEEN else hears)
        if shapes and ours != theirs:
            raise UserError(
                f"{run} holds a model with --{name}={_shown(theirs)}, this stage asks "
                f"for {_shown(ours)}. Leave the flag out to take the parent's, or give "
                "the same."
            )
    spec = records.spec
    if not sees:
        before = dataclasses.replace(
            before,
            features_2d=spec.features_2d,
            features_3d=spec.features_3d,
            model=dataclasses.replace(before.model, image_encoder=""),
        )
    if not hears:
        audio = dataclasses.replace(before.model, audio=spec.audio)
        before = dataclasses.replace(before, model=audio)
    runs.check_records(before, records, run)


def _shown(value: Any) -> str:
    """A setting's value as its flag has it."""
    if isinstance(value, tuple):
        return comma_lists.to_text(value) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "none"


def _as_trainable(parent: runs.RunInfo, encoder: str) -> runs.RunInfo:
    """The parent, its frozen features those of an encoder that is now to be trained.

    Source: AVLnet section 3.3, which goes on so from HowTo100M to Places.
    """
    frozen = parent.features_2d and parent.features_2d.backbone
    if not encoder or frozen != encoder or parent.features_3d:
        return parent
    model = dataclasses.replace(parent.model, image_encoder=encoder)
    return dataclasses.replace(parent, model=model, features_2d=None)
