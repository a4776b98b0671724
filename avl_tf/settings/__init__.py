"""Settings that are declared once: as dataclass fields that become absl flags.

A program's flags, the configuration its library takes, and the file saved with a run
are then the same names with the same defaults.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from absl import flags

from avl_tf import comma_lists, flagfiles
from avl_tf.errors import UserError

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")
SEEDS = 2**32 - 1  # the largest that every generator takes
_MOST = 10**9
# Flags that are defined here are those of the program that calls.
flags.disclaim_key_flags()


def setting(
    default: Any,
    help_text: str,
    choices: tuple[str, ...] = (),
    lower: float = 0,
    upper: float = _MOST,
    shapes_weights: bool = False,
    required: bool = False,
) -> Any:
    """Declares a dataclass field that is also a flag of the same name.

    Args:
        default: int, float, bool, str or a tuple of int or str; its type is the flag's.
            None, with a type of `... | None`, is a flag that is left out.
        help_text: what it does, its unit, and the paper's value.
        choices: the texts allowed.
        lower, upper: inclusive limits of a number, or of each in a tuple. No number is
            without: what no machine can do is told before TensorFlow is asked.
        shapes_weights: what weights a model has depends on it, so that a stage has it
            from its parent.
        required: the flag must be given; the default is None then.
    """
    metadata = {
        "help": help_text,
        "choices": choices,
        "limits": (lower, upper),
        "shapes_weights": shapes_weights,
        "required": required,
    }
    return dataclasses.field(default=default, metadata=metadata)


def define_flags(
    config_class: type,
    flag_values: flags.FlagValues = flags.FLAGS,
    heading: str | None = None,
    default_is: str = "",
) -> None:
    """Defines a flag for every setting of a configuration class.

    Args:
        config_class: the dataclass.
        flag_values: where.
        heading: that --help shows above them, if not that of the program's own.
        default_is: what --help says of their defaults, if not what they are.
    """
    kinds = types_of(config_class)
    # absl's groups of flags are modules; ours have headings in their place.
    place: dict[str, Any] = {"flag_values": flag_values, "module_name": heading}
    for field in declared(config_class):
        name, kind, text = field.name, kinds[field.name], field.metadata["help"]
        default: Any = field.default
        lower, upper = field.metadata["limits"]
        if choices := field.metadata["choices"]:
            flags.DEFINE_enum(name, default, choices, text, **place)
        elif kind is bool:
            flags.DEFINE_boolean(name, default, text, **place)
        elif kind is int:
            flags.DEFINE_integer(name, default, text, lower, upper, **place)
        elif kind is float:
            define_float(name, default, text, lower, upper, **place)
        elif kind is str:
            flags.DEFINE_string(name, default, text, **place)
        else:
            default = default and [str(item) for item in default]
            flags.DEFINE_list(name, default, text, **place)
        if field.metadata["required"]:
            flags.mark_flag_as_required(name, flag_values)
        elif default_is:
            flag_values[name].default_as_str = default_is


class _FloatParser(flags.FloatParser):
    """absl's lets a NaN pass, which is within any limits."""

    def is_outside_bounds(self, val: float) -> bool:
        return not math.isfinite(val) or super().is_outside_bounds(val)


def define_float(
    name: str,
    default: float | None,
    help_text: str,
    lower: float,
    upper: float,
    flag_values: flags.FlagValues = flags.FLAGS,
    module_name: str | None = None,
) -> flags.FlagHolder[Any]:
    """Defines a flag that is a finite number within inclusive limits."""
    parser = _FloatParser(lower, upper)
    serializer = flags.ArgumentSerializer[float]()
    return flags.DEFINE(
        parser, name, default, help_text, flag_values, serializer, module_name
    )


def from_flags(
    config_class: type[Config],
    flag_values: flags.FlagValues = flags.FLAGS,
    base: Config | None = None,
) -> Config:
    """Reads a configuration from parsed flags.

    Args:
        config_class: a dataclass whose settings define_flags defined.
        flag_values: the parsed flags.
        base: a configuration to start from; only flags that were given change it.

    Raises:
        ValueError: an item of a list of numbers is not one, or beyond its limits.
    """
    values = {}
    kinds = types_of(config_class)
    for field in declared(config_class):
        flag = flag_values[field.name]
        if base is not None and not flag.present:
            continue
        value: Any = flag.value
        if isinstance(value, list):
            value = _items(field, typing.get_args(kinds[field.name])[0], value)
        values[field.name] = value
    if base is not None:
        return dataclasses.replace(base, **values)
    return config_class(**values)


def _items(field: dataclasses.Field, kind: type, texts: list[str]) -> tuple:
    lower, upper = field.metadata["limits"]
    if kind is str:
        return tuple(texts)
    try:
        items = tuple(kind(text) for text in texts)
        if not all(lower <= item <= upper for item in items):
            raise ValueError
    except ValueError as error:
        raise UserError(
            f"--{field.name}: expected {kind.__name__}s from {lower} to {upper} with "
            f"commas between, got '{','.join(texts)}'."
        ) from error
    return items


def read_flagfile(
    path: str, *config_classes: type, others: bool = False, name: str = ""
) -> flags.FlagValues:
    """Parses a local flagfile by itself, apart from the program's own flags.

    Args:
        path: the file.
        config_classes: whose settings it may set.
        others: pass over flags that are settings of none of them.
        name: what the user calls the file, for messages; path if left out.

    Raises:
        UserError: a flag is unknown or has a wrong value; names the file.
    """
    flag_values, name = flags.FlagValues(), name or path
    for config_class in config_classes:
        define_flags(config_class, flag_values)
    try:
        rest = flag_values([name, *flagfiles.read(path)], known_only=others)[1:]
    except flags.Error as error:
        raise UserError(f"{name}: {error}") from error
    if rest and not others:
        raise UserError(f"{name}: '{rest[0]}' is not a flag. Write --name=value.")
    return flag_values


def to_flagfile(*configs: Any) -> str:
    """Writes the settings of configurations as the text of a flagfile.

    Raises:
        ValueError: a setting is of several lines, as a path may be.
    """
    lines = []
    for config in configs:
        for field in declared(type(config)):
            value = getattr(config, field.name)
            if value is None:
                continue
            if isinstance(value, tuple):
                value = comma_lists.to_text(value)
            elif isinstance(value, bool):
                value = str(value).lower()
            line = f"--{field.name}={value}"
            if line.splitlines() != [line]:
                raise UserError(
                    f"--{field.name}={value!r}: a line break in it cannot be kept in a "
                    "flagfile. Give the file or folder another name."
                )
            lines.append(f"{line}\n")
    return "".join(lines)


def shaping(config_class: type) -> list[str]:
    """Names the settings that shape a model's weights."""
    fields = declared(config_class)
    return [field.name for field in fields if field.metadata["shapes_weights"]]


def plain(value: Any) -> Any:
    """A configuration, or what else holds some, as it comes back from a JSON file."""
    return json.loads(json.dumps(value, default=dataclasses.asdict))


def changes(
    before: Mapping[str, Any], now: Mapping[str, Any], config_class: type
) -> list[str]:
    """Tells which settings differ from those that were noted before, name by name.

    Args:
        before: as plain made it of a configuration, perhaps in an earlier version: a
            setting that did not exist then had the value that is its default now.
        now: the same of today.
        config_class: the configuration's dataclass, which knows the defaults.

    Returns:
        "seed was 0, now 1", one for each that differs; of settings inside of others
        "audio.n_mels was 40, now 80".
    """
    defaults = {
        field.name: plain(field.default)
        for field in dataclasses.fields(config_class)
        if field.default is not dataclasses.MISSING
    }
    return _changes(before, now, defaults, "")


def _changes(before, now, defaults, prefix) -> list[str]:
    found = []
    for name, value in now.items():
        default = defaults.get(name, value)
        then = before.get(name, default)
        if isinstance(then, dict) and isinstance(value, dict):
            inner = default if isinstance(default, dict) else {}
            found += _changes(then, value, inner, f"{prefix}{name}.")
        elif then != value:
            found.append(f"{prefix}{name} was {then}, now {value}")
    return found


def types_of(config_class: type) -> dict[str, Any]:
    """Name -> type of a field, of `T | None` the T."""
    hints = typing.get_type_hints(config_class)
    return {
        name: next(k for k in typing.get_args(kind) if k is not type(None))
        if isinstance(kind, types.UnionType)
        else kind
        for name, kind in hints.items()
    }


def declared(config_class: type) -> list[dataclasses.Field]:
    """The fields that are settings, in their order; those inherited come last."""
    fields = [f for f in dataclasses.fields(config_class) if "help" in f.metadata]
    return sorted(fields, key=lambda f: f.name not in config_class.__annotations__)
