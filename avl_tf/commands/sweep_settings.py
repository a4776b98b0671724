"""The settings of a sweep, from --setting and --grid; no TensorFlow here."""

import csv
import dataclasses
import itertools
import re
import shlex
from collections.abc import Mapping, Sequence

from absl import flags

from avl_tf import comma_lists, flagfiles
from avl_tf.errors import UserError

_NAME = re.compile(r"(?:[\w][\w.+=-]*/)?[\w][\w.+=-]*", re.ASCII)
_GRID = re.compile(r"(?:([\w.-]+)/)?(?:--)?(\w+)=(.*)", re.ASCII | re.DOTALL)
# Below the folder of a sweep; seedN are those of a setting.
_TAKEN = re.compile(r"(?i)(logs|hparams|curve|chance|seed\d+)")
# What --seeds and --evaluate give, and what a run is called.
_NOT_OF_SETTINGS = {
    "seed": "--seeds of the sweep",
    "evaluate": "--evaluate of the sweep",
    "run_dir": "the sweep's own",
    "init_from": "--stages=NAME=FLAGFILE@PARENT",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting: its name, STUDY/NAME or NAME, and the flags in which it differs.

    overrides: (stage, argument) in order, a later one wins; stage "" is all.
    given: (stage, name) of the flags that stand in it by themselves, in no flagfile.
    values: the values of the grid's flags, as texts.
    """

    name: str
    overrides: tuple[tuple[str, str], ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    given: tuple[tuple[str, str], ...] = ()

    @property
    def study(self) -> str:
        """What stands before the slash, "" if there is none."""
        return self.name.rpartition("/")[0]

    def without(self, flag: str) -> str:
        """The name without what the grid's flag adds to it; "" if that is all."""
        parts = [_part(*value) for value in self.values if value[0] == flag]
        return "+".join(p for p in self.name.split("+") if p not in parts)

    def arguments(self, stage: str) -> tuple[str, ...]:
        """The flags in which a stage differs."""
        return tuple(text for of, text in self.overrides if of in ("", stage))


def read(
    items: Sequence[str], grid: Sequence[str], stages: Sequence[str]
) -> tuple[Setting, ...]:
    """Reads the settings: those of --setting, each with each of --grid.

    Args:
        items: of --setting.
        grid: of --grid.
        stages: their names.

    Raises:
        UserError: there is none, two have one name, or one cannot be read.
    """
    if not items and not grid:
        raise UserError("Give --setting or --grid: what is to be compared?")
    named = [_setting(item, stages) for item in items] or [Setting("")]
    axes = [_axis(item, stages) for item in grid]
    if len({(stage, flag) for stage, flag, _ in axes}) < len(axes):
        raise UserError("--grid: a flag is given twice; put all its values into one.")
    found = [
        _joined(setting, points)
        for setting in named
        for points in itertools.product(
            *([(stage, flag, text) for text in texts] for stage, flag, texts in axes)
        )
    ]
    seen: set[str] = set()
    for setting in found:
        # Folders, which not every file system tells apart by case.
        if setting.name.lower() in seen:
            raise UserError(
                f"The name '{setting.name}' stands for two settings. Give each its own."
            )
        seen.add(setting.name.lower())
    return tuple(found)


def _setting(item: str, stages: Sequence[str]) -> Setting:
    name, colon, text = (part.strip() for part in item.partition(":"))
    if not colon or not _NAME.fullmatch(name):
        raise UserError(
            f"--setting: expected NAME: --flag=value --flag=value, with a NAME or "
            f"STUDY/NAME of letters, digits and . + = - _, got '{item}'."
        )
    if any(_TAKEN.fullmatch(part) for part in name.split("/")):
        raise UserError(f"The name '{name}' of a setting is taken.")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--setting={name}: {error}: '{text}'.") from None
    overrides, given = [], []
    for word in words:
        stage, dashes, flag = word.partition("--")
        stage = stage.removesuffix("/")
        if not dashes or not flag or stage and f"{stage}/--{flag}" != word:
            raise UserError(f"{name}: '{word}' is not a flag. Write --flag=value.")
        given.append((stage, flag.partition("=")[0]))
        _check(name, *given[-1], stages)
        overrides += [(stage, each) for each in flagfiles.expand([f"--{flag}"])]
    return Setting(name, tuple(overrides), given=tuple(given))


def _axis(item: str, stages: Sequence[str]) -> tuple[str, str, list[str]]:
    match = _GRID.fullmatch(item.strip())
    if not match:
        raise UserError(f"--grid: expected flag=a,b,c, got '{item}'.")
    stage, flag, text = match[1] or "", match[2], match[3]
    _check(f"--grid={item}", stage, flag, stages)
    try:
        (values,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        values = []
    values = [value.strip() for value in values]
    if not values or "" in values:
        raise UserError(
            f"--grid={item}: expected values with commas between. {comma_lists.RULE}"
        )
    return stage, flag, values


def _check(name: str, stage: str, flag: str, stages: Sequence[str]) -> None:
    if stage and stage not in stages:
        raise UserError(
            f"{name}: there is no stage '{stage}'; the stages are {', '.join(stages)}."
        )
    if flag in _NOT_OF_SETTINGS:
        raise UserError(
            f"{name}: --{flag} is not a setting's: {_NOT_OF_SETTINGS[flag]}."
        )


def _joined(setting: Setting, points: Sequence[tuple[str, str, str]]) -> Setting:
    """A setting at a point of the grid."""
    parts = [_part(flag, text) for _, flag, text in points]
    name = "+".join([setting.name, *parts] if setting.name else parts)
    overrides = tuple((stage, f"--{flag}={text}") for stage, flag, text in points)
    values = tuple((flag, text) for _, flag, text in points)
    given = tuple((stage, flag) for stage, flag, _ in points)
    return Setting(name, setting.overrides + overrides, values, setting.given + given)


def _part(flag: str, text: str) -> str:
    """What a point of the grid adds to a name."""
    return re.sub(r"[^\w.=-]", "-", f"{flag}={text}")


def varied(
    chosen: Sequence[Setting],
    stages: Sequence[str],
    parsed: Mapping[tuple[str, str], flags.FlagValues],
) -> dict[str, dict[str, bool | float | str]]:
    """The values of flags in which settings differ; STAGE/flag of several stages."""
    found: dict[str, dict[str, bool | float | str]] = {
        setting.name: {"setting": setting.name} for setting in chosen
    }
    for stage in stages:
        values = {one.name: parsed[one.name, stage] for one in chosen}
        start = f"{stage}/" if len(stages) > 1 else ""
        for flag in values[chosen[0].name]:
            of_flag = {name: _plain(each[flag].value) for name, each in values.items()}
            if len(set(of_flag.values())) < 2:
                continue
            if len({type(value) for value in of_flag.values()}) > 1:
                of_flag = {name: str(value) for name, value in of_flag.items()}
            for name, value in of_flag.items():
                found[name][start + flag] = value
    return found


def _plain(value: object) -> bool | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    return comma_lists.to_text(value) if isinstance(value, list) else ""
