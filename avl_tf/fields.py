"""What the fields of a file must be: a table of checks a format, one way to tell.

A check takes a value and the path of its field, as in "shards.a.n_bytes", and raises
UserError if the value is not what it should be.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from avl_tf import json_text
from avl_tf.errors import UserError
from avl_tf.json_text import LARGEST

Check = Callable[[Any, str], None]

_LONGEST = 4096  # characters; a path of Linux has no more bytes
_SHOWN = 60


def require(value: Any, check: Check, place: str) -> None:
    """UserError, which begins with `place` and names the field, if a check fails."""
    try:
        check(value, "")
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def number(lower: float = -LARGEST, upper: float = LARGEST) -> Check:
    """A finite number within inclusive limits; true and false are none."""

    def check(value: Any, path: str) -> None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not lower <= value <= upper:
            _refuse(value, path, f"a number{_limits(lower, upper)}")

    return check


def whole(lower: float = -LARGEST, upper: float = LARGEST) -> Check:
    """An integer within inclusive limits; true, false and 3.0 are none."""

    def check(value: Any, path: str) -> None:
        good = isinstance(value, int) and not isinstance(value, bool)
        if not good or not lower <= value <= upper:
            _refuse(value, path, f"a whole number{_limits(lower, upper)}")

    return check


def boolean(value: Any, path: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        _refuse(value, path, "true or false")


def text(longest: int = _LONGEST, empty: bool = False, one_line: bool = False) -> Check:
    """A text that UTF-8 can hold, of `longest` characters at most."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or not (value or empty):
            _refuse(value, path, "a text")
        if len(value) > longest:
            raise UserError(
                f"'{path}' must be a text of {longest} characters at most, got "
                f"{len(value)}"
            )
        anything(value, path)
        if one_line and not value.isprintable():
            _refuse(value, path, "a text without control characters")

    return check


def matching(pattern: str, called: str) -> Check:
    """A text that fits a regular expression as a whole."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            _refuse(value, path, called)

    return check


def choice(*values: str) -> Check:
    """One of some texts."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or value not in values:
            _refuse(value, path, f"one of {', '.join(map(repr, values))}")

    return check


def anything(value: Any, path: str) -> None:
    """Whatever a file can hold: no NaN, no infinity, no half of a character."""
    if fault := json_text.fault_of(value, path):
        raise UserError(fault)


def nullable(check: Check) -> Check:
    """What passes a check, or null."""
    return lambda value, path: None if value is None else check(value, path)


def items(check: Check, at_least: int = 0) -> Check:
    """A list of values that pass a check."""

    def check_all(value: Any, path: str) -> None:
        if not isinstance(value, list | tuple) or len(value) < at_least:
            _refuse(
                value, path, f"a list of {at_least} or more" if at_least else "a list"
            )
        for index, item in enumerate(value):
            check(item, f"{path}[{index}]")

    return check_all


_NAME = text()


def mapping(check: Check, name: Check = _NAME) -> Check:
    """An object of any names whose values pass a check."""

    def check_all(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            _refuse(value, path, "an object")
        for key, item in value.items():
            name(key, f"{path}: a name")
            check(item, json_text.below(path, key))

    return check_all


def record(
    checks: Mapping[str, Check], optional: Iterable[str] = (), others: bool = False
) -> Check:
    """An object of certain fields.

    Args:
        checks: by the name of the field.
        optional: which may be left out.
        others: let other fields be.
    """
    needed = set(checks) - set(optional)

    def check_all(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            _refuse(value, path, "an object")
        unknown = [] if others else sorted(value.keys() - checks.keys())
        if unknown:
            raise UserError(
                f"unknown field '{json_text.below(path, unknown[0])!s:.80}'. Known: "
                f"{', '.join(sorted(checks))}"
            )
        for key, check in checks.items():
            if key in value:
                check(value[key], json_text.below(path, key))
            elif key in needed:
                raise UserError(f"'{json_text.below(path, key)}' is missing")

    return check_all


def _refuse(value: Any, path: str, expected: str) -> None:
    shown = "a huge number" if _is_huge(value) else f"{value!r}"
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}..."
    raise UserError(f"'{path}' must be {expected}, got {shown}")


def _is_huge(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() > 1024


def _limits(lower: float, upper: float) -> str:
    if upper < LARGEST:
        return f" from {lower:,} to {upper:,}"
    return f" of {lower:g} or more" if lower > -LARGEST else ""
