"""The flags of one training stage, for avl_tf.train and for a cascade's stages."""

from typing import NamedTuple

from absl import flags

from avl_tf import comma_lists, flagfiles, local_paths, settings
from avl_tf.errors import UserError
from avl_tf.settings import terms
from avl_tf.settings.clips import ClipConfig
from avl_tf.settings.evaluation import EvaluationConfig
from avl_tf.settings.model import ModelConfig
from avl_tf.settings.stage import StageConfig

# With what --help shows above them.
_CONFIGS = {
    StageConfig: "Training",
    ClipConfig: "Training clips",
    EvaluationConfig: "Evaluation",
    ModelConfig: "Model (with --init_from what is not given is the parent's)",
}


class CascadeStage(NamedTuple):
    """One stage of a cascade: parsed flags, and the stage or run it starts from."""

    name: str
    flag_values: flags.FlagValues
    parent: str | None


def define(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the settings of a stage as flags."""
    for config_class, heading in _CONFIGS.items():
        settings.define_flags(config_class, flag_values, heading)


def read_flagfile(path: str, name: str = "") -> flags.FlagValues:
    """Parses a stage's local flagfile, or one of the package's configs by its name.

    Args:
        path: the file, or its name.
        name: what the user calls it, for messages; path if left out.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a flag is unknown or has a wrong value; names the file.
    """
    name = name or path
    flag_values = settings.read_flagfile(flagfiles.find(path), *_CONFIGS, name=name)
    try:
        check(flag_values)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return flag_values


def check(flag_values: flags.FlagValues) -> None:
    """Looks at parsed flags together; UserError if they do not agree."""
    evaluated = settings.from_flags(EvaluationConfig, flag_values)
    comma_lists.parse_evaluate(evaluated.evaluate)
    stage = settings.from_flags(StageConfig, flag_values)
    # What one device cannot be dealt, several cannot.
    stage.check_batch()
    clips = settings.from_flags(ClipConfig, flag_values)
    terms.check_loss(stage, clips)
    paths = comma_lists.parse_records(stage.records) if stage.records else {}
    if paths:
        clips.fraction_of(paths)
    model = settings.from_flags(ModelConfig, flag_values, ModelConfig(()))
    model.require_one_language(paths)


def require_paths(flag_values: flags.FlagValues) -> None:
    """Raises FileNotFoundError if local records or weights are not there."""
    for path in record_paths(flag_values):
        local_paths.require_records(path)
    if flag_values["image_weights"].value != "imagenet":
        local_paths.require_file("image_weights", flag_values["image_weights"].value)


def record_paths(flag_values: flags.FlagValues) -> tuple[str, ...]:
    """The records that a stage reads, those that it is evaluated on too."""
    records = comma_lists.parse_records(flag_values["records"].value or "")
    named = comma_lists.parse_evaluate(flag_values["evaluate"].value or [])
    return tuple(
        path for paths in (records, *named.values()) for path in paths.values()
    )


def arguments(flag_values: flags.FlagValues) -> tuple[str, ...]:
    """The arguments, as of avl_tf.train, that parse to the same flags."""
    found = [flag_values[name] for name in sorted(flag_values)]
    given = [f for f in found if f.present or f.value != f.default]
    return tuple(flag.serialize() for flag in given)
