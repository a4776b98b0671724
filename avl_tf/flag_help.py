"""What --help prints: a program's flags in the order of use, those it needs first."""

import re
import sys
import textwrap
from collections.abc import Iterable

from absl import flags

_WIDTH = 80
_LAST = (
    "Every program also takes --flagfile=NAME, a file of flags with one a line, and "
    "--verbosity=1, which shows where an error came from."
)


def text(description: str, module: str) -> str:
    """Writes the help of the program whose flags are defined by now.

    Args:
        description: what it does.
        module: the name of its module, whose flags have no heading of their own.
    """
    groups: dict[str, list[flags.Flag]] = {"Required": [], "Options": []}
    own = sys.argv[0], module
    of_modules = flags.FLAGS.flags_by_module_dict()
    for name in sorted(of_modules, key=lambda name: name not in own):
        if name.startswith(("absl", "tensorflow", "tf_keras")):
            continue
        heading = "Options" if name in own else name
        for flag in of_modules[name]:
            needed = "Required" if _need(flag) else heading
            groups.setdefault(needed, []).append(flag)
    parts = [description.strip()]
    parts += [
        "\n".join([f"{heading}:", *map(_entry, shown)])
        for heading, shown in groups.items()
        if shown
    ]
    return "\n\n".join([*parts, textwrap.fill(_LAST, _WIDTH)])


def missing() -> list[str]:
    """Tells of each required flag that was not given, or given empty."""
    # A validator of several flags is met at each of them.
    found: dict[str, None] = {}
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        for validator in flag.validators:
            names = list(validator.get_flags_names())
            if len(names) > 1:
                values = {each: flags.FLAGS[each].value for each in names}
                if not validator.checker(values):
                    found[validator.message] = None
            elif flag.value in (None, "", []) and not validator.checker(None):
                found[f"--{name} is required: {flag.help}"] = None
    return list(found)


def _need(flag: flags.Flag) -> str:
    """Says that a flag, or one of several, must be given; "" if not."""
    for validator in flag.validators:
        others = [name for name in validator.get_flags_names() if name != flag.name]
        if others:
            return f"required: this or {_either(others)}"
        if not validator.checker(None):
            return "required"
    return ""


def _either(names: Iterable[str]) -> str:
    return " or ".join(f"--{name}" for name in names)


def _entry(flag: flags.Flag) -> str:
    """A flag, what it takes, and what it does, in lines of _WIDTH."""
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    facts = "; ".join(filter(None, (_need(flag), _taken(flag), _default(flag))))
    # absl begins that of a choice with the choices, and ends that of a flag which may
    # stand several times with words of its own.
    said = re.sub(r"^<[^>]*>: |;\s+repeat this option .*", "", flag.help or "")
    return (
        f"{_wrapped(f'{name}  ({facts})' if facts else name, 2)}\n{_wrapped(said, 6)}"
    )


def _wrapped(said: str, indent: int) -> str:
    return textwrap.fill(
        said,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * 6,
        break_on_hyphens=False,
    )


def _taken(flag: flags.Flag) -> str:
    """Which values a flag takes; "" if its help says it all."""
    if isinstance(flag, flags.MultiFlag):
        return "several times, if need be"
    if isinstance(flag.parser, flags.EnumParser):
        return "one of " + ", ".join(filter(None, flag.parser.enum_values))
    lower = getattr(flag.parser, "lower_bound", None)
    upper = getattr(flag.parser, "upper_bound", None)
    if lower is not None and upper is not None and upper < 10**9:
        return f"from {lower} to {upper}"
    return f"{lower} or more" if lower else ""


def _default(flag: flags.Flag) -> str:
    """What holds where a flag is left out, as a user would write it."""
    default = re.sub(r"\.0$|^\[\]$", "", (flag.default_as_str or "").strip("'"))
    if flag.boolean:
        default = {"true": "yes", "false": "no"}.get(default, default)
    return f"default: {default}" if default else ""
