"""What is wrong with the settings of a sweep, as far as their flags tell it."""

from collections.abc import Mapping, Sequence

from absl import flags

from avl_tf import local_paths, settings
from avl_tf.commands.sweep_settings import Setting
from avl_tf.comparing.trainings import System
from avl_tf.errors import UserError
from avl_tf.settings import stage_flags, terms
from avl_tf.settings.stage import StageConfig

_Parsed = Mapping[tuple[str, str], flags.FlagValues]


def require_comparable(chosen: Sequence[Setting], stage: str, parsed: _Parsed) -> None:
    """Raises UserError if two settings are ranked in different ways."""
    first = chosen[0].name
    for name in ("evaluate", "evaluation_clip_s", "evaluation_population"):
        ours = parsed[first, stage][name].value
        for other in chosen[1:]:
            theirs = parsed[other.name, stage][name].value
            if ours != theirs:
                raise UserError(
                    f"{first} has --{name}={ours}, {other.name} {theirs}: their ranks "
                    "cannot be compared. Give both the same."
                )


def require_use(setting: Setting, stages: Mapping[str, flags.FlagValues]) -> None:
    """Raises UserError for a flag of a setting that no stage of it has a use for.

    In a flagfile such a flag may be shared by losses; here it would make a row that
    equals another.

    Args:
        setting: with the flags.
        stages: what was parsed of each stage with them, by its name.
    """
    unused = {
        name: terms.unused(settings.from_flags(StageConfig, flag_values))
        for name, flag_values in stages.items()
    }
    for of, flag in setting.given:
        flag = flag.removeprefix("no") if flag.startswith("nonn_") else flag
        reasons = [unused[name].get(flag) for name in stages if of in ("", name)]
        if reasons and all(reasons):
            raise UserError(
                f"{setting.name}: --{flag} changes nothing here: {reasons[0]}. Leave "
                "it out."
            )


def absent_records(
    chosen: Sequence[Setting],
    stages: Sequence[System],
    parsed: _Parsed,
    evaluate: Sequence[str],
) -> str:
    """Says which local records and weights are not there, and what names them.

    Args:
        chosen, stages: of the sweep.
        parsed: the flags of each setting and stage.
        evaluate: as of the sweep's flag.

    Returns:
        A line; "" if all are there.
    """
    found: dict[str, str] = {}
    for setting in chosen:
        for stage in stages:
            for path in _absent(parsed[setting.name, stage.name]):
                own = any(path in text for text in setting.arguments(stage.name))
                of = setting.name if own else stage.flagfile
                of = "--evaluate" if any(path in item for item in evaluate) else of
                found.setdefault(path, of)
    if not found:
        return ""
    named = ", ".join(f"{path} ({of})" for path, of in found.items())
    return (
        f"not there: {named}. docs/data.md has the command that makes each published "
        "corpus, docs/corpora.md notes on them; records of your own are given by "
        "--records and --evaluate."
    )


def _absent(flag_values: flags.FlagValues) -> list[str]:
    paths = stage_flags.record_paths(flag_values)
    found = [path for path in paths if local_paths.lacks_records(path)]
    weights = flag_values["image_weights"].value or ""
    if weights != "imagenet" and local_paths.lacks_file(weights):
        found.append(weights)
    return found
