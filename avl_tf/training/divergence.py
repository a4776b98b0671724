"""Whom to blame for a number that is not finite: looked at, not guessed."""

from collections.abc import Mapping

import tensorflow as tf

from avl_tf import evaluation
from avl_tf.errors import UserError
from avl_tf.settings.stage import StageConfig
from avl_tf.training.steps import TrainState


def require_finite(state: TrainState, source: str) -> None:
    """Raises ValueError if the weights a training is to start from are not finite."""
    if state.not_finite():
        raise UserError(
            f"{source}: a weight in it is a NaN or an infinity. Start from another, or "
            "train anew."
        )


def blame(
    run_dir: str,
    what: str,
    stage: StageConfig,
    n_steps: int,
    strategy: tf.distribute.Strategy | None = None,
    batch: Mapping[str, tf.Tensor] | None = None,
) -> UserError:
    """Makes the error that names the suspects, the likeliest first.

    The weights that the training started from are known to be finite (require_finite).

    Args:
        run_dir: the run directory.
        what: is not finite, and where, as in "the loss is nan at step 3".
        stage: how the training goes.
        n_steps: that changed the weights before it happened.
        strategy, batch: what a step read, to be looked at; the caller has looked at it
            if they are left out.
    """
    shares = [batch or {}]
    if batch and strategy:
        parts = {k: strategy.experimental_local_results(v) for k, v in batch.items()}
        n_shares = len(parts["clip_id"])
        shares = [{k: v[index] for k, v in parts.items()} for index in range(n_shares)]
    for share in shares:
        if fault := evaluation.fault_of_inputs(share):
            return UserError(f"{run_dir}: {what}, and {fault}")
    suspects = []
    if n_steps:
        suspects.append(f"a lower --learning_rate (it is {stage.learning_rate:g})")
        unused = [] if stage.warmup_steps else ["--warmup_steps"]
        unused += [] if stage.clip_norm else ["--clip_norm"]
        suspects += [" or ".join(unused)] if unused else []
    else:
        suspects.append("a smaller --visual_scale")
    if stage.mixed_precision == "float16":
        suspects.append("--mixed_precision=off, as float16 ends at 65504")
    happened = (
        "the training has diverged"
        if n_steps
        else "numbers grow too large inside of the model, before any step"
    )
    return UserError(
        f"{run_dir}: {what}, though what the model read is finite, as the weights were "
        f"at the start: {happened}. Train again in another --run_dir, with "
        f"{'; or with '.join(suspects)}. The last checkpoint is from before."
    )
