"""The flags of one training stage, for avl_tf.train and for a cascade's stages."""

import tensorflow as tf
from absl import flags

from avl_tf import files, flagfiles, settings, training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.training.stage_config import StageConfig

_CONFIGS = (StageConfig, ClipConfig, EvaluationConfig, ModelConfig)


def define(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the settings of a stage as flags."""
    for config_class in _CONFIGS:
        settings.define_flags(config_class, flag_values)


def read_flagfile(path: str) -> flags.FlagValues:
    """Parses a stage's flagfile, or one of the package's configs by its name.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a flag is unknown or has a wrong value; names the file.
    """
    if "://" not in path:
        return settings.read_flagfile(flagfiles.find(path), *_CONFIGS, name=path)
    files.require_filesystem(path)
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"{path}: no such flagfile.")
    with files.local_copy(path) as local:
        return settings.read_flagfile(local, *_CONFIGS, name=path)


def train(
    flag_values: flags.FlagValues, run_dir: str, init_from: str | None = None
) -> dict:
    """Trains the stage that parsed flags describe; see training.train_stage."""
    stage = settings.from_flags(StageConfig, flag_values)
    base = training.base_model_config(stage, init_from)
    return training.train_stage(
        run_dir,
        stage,
        settings.from_flags(ClipConfig, flag_values),
        settings.from_flags(EvaluationConfig, flag_values),
        settings.from_flags(ModelConfig, flag_values, base),
        init_from,
    )
