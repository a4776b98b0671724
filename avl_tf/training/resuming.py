"""Whether a stage goes on in a run directory, or may begin there."""

from collections.abc import Mapping

import tensorflow as tf

from avl_tf import files, runs, settings
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.settings.stage import StageConfig

_DEFAULTS = settings.to_flagfile(
    StageConfig(), ClipConfig(), EvaluationConfig(), ModelConfig(visual_dims=())
)
_OPTIONAL = [
    f"--{field.name}"
    for config in (StageConfig, ClipConfig, EvaluationConfig, ModelConfig)
    for field in settings.declared(config)
    if field.default is None
]


def is_resumed(run_dir: str, info: runs.RunInfo, flags_text: str) -> bool:
    """Whether a run directory holds this very run, begun before.

    It may now have more epochs: nothing before the last depends on their number, unless
    the learning rate falls over all of them.

    Raises:
        ValueError: it holds another run, or an imported one.
    """
    if not runs.exists(run_dir):
        return False
    flags_path = files.join(run_dir, runs.FLAGS)
    if not tf.io.gfile.exists(flags_path):
        raise UserError(
            f"{run_dir} holds an imported run. Train from it into another --run_dir, "
            f"with --init_from={run_dir}."
        )
    with tf.io.gfile.GFile(flags_path) as stream:
        # A setting that an earlier version did not have was as its default is now.
        before = {
            **runs.weights.flag_values(_DEFAULTS),
            **runs.weights.flag_values(stream.read()),
        }
    now = runs.weights.flag_values(flags_text)
    # One that has no default is in the file only if it was given.
    given = {name: before[name] for name in _OPTIONAL if name in before}
    changed = [
        f"{name}={before.get(name, 'none')} then, {now.get(name, 'none')} now"
        for name in {**now, **given}
        if before.get(name) != now.get(name) and not _goes_further(name, before, now)
    ]
    old = runs.read_info(run_dir)
    if old.parent != info.parent:
        changed.append(f"--init_from={old.parent} then, {info.parent} now")
    if old.records_fingerprint != info.records_fingerprint:
        changed.append(
            f"the records in {info.records} have changed (--init_from={run_dir} starts "
            "a new run on them from these weights)"
        )
    changed += [
        f"the evaluation set '{name}' has changed"
        for name, before in old.evaluation_fingerprints.items()
        if info.evaluation_fingerprints.get(name, before) != before
    ]
    if changed:
        raise UserError(
            f"{run_dir} holds a run of other settings: {'; '.join(changed)}. Use "
            "another --run_dir, or delete this one to train anew."
        )
    return True


def _goes_further(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether a setting is the number of epochs, raised where it can be."""
    if name != "--epochs" or float(now["--final_learning_rate"]):
        return False
    return int(now[name]) > int(before[name])
