"""JSON in and out: the one reader of what a user or a foreign program may write.

It is stricter than Python's own: what would fail or mislead later is told at once, in
one line that names the place and the field.
"""

import json
import re
from typing import Any

from avl_tf.errors import UserError

_DEEPEST = 100
LARGEST = 1.7976931348623157e308  # that a float64 holds
_ESCAPED = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_UNFIT = re.compile("[\x00\ud800-\udfff]")


def parse(text: str | bytes, place: str, kind: str = "JSON") -> Any:
    """Reads JSON of our own formats.

    Args:
        text: UTF-8, perhaps with a byte order mark.
        place: what the messages begin with.
        kind: what it is called in messages.

    Raises:
        UserError: as load, or a number is not finite or a text holds a NUL or half of a
            surrogate pair; names the field.
    """
    value, _ = _load(text, place, kind)
    if fault := fault_of(value):
        raise UserError(f"{place}: {fault}.")
    return value


def parse_foreign(text: str, place: str) -> Any:
    """Reads JSON of other programs; UserError as load.

    A text with a NUL or half of a surrogate pair (a caption that was cut within an
    emoji) is mended. NaN and infinities are left to the caller.
    """
    value, whole = _load(text, place, "JSON")
    return mended(value) if _ESCAPED.search(whole) else value


def load(text: str, place: str) -> Any:
    """Reads JSON whose texts and numbers the caller judges, field by field.

    Raises:
        UserError: it is not UTF-8 or not JSON; a key stands twice in an object; values
            are nested more than 100 deep, or a number has thousands of digits.
    """
    return _load(text, place, "JSON")[0]


def dump(value: Any, indent: int | None = None) -> str:
    """The JSON text of a value, that can be written as UTF-8 whatever a path holds."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # Of a file name that is no UTF-8 text; the escape is JSON's own.
    return text.encode("utf-8", "backslashreplace").decode()


def fault_of(value: Any, path: str = "") -> str:
    """What no file of ours can hold in a value, with the field; "" if nothing."""
    name = f"'{path}'" if path else "the value"
    if isinstance(value, str):
        if found := _UNFIT.search(value):
            what = "a NUL" if found[0] == "\0" else f"{found[0]!a}, half a character,"
            return f"{name} holds {what} at character {found.start() + 1}"
    elif isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
        shown = value if isinstance(value, float) else "a number of hundreds of digits"
        return f"{name} is {shown}, expected a finite number"
    elif isinstance(value, dict):
        for key, item in value.items():
            if fault := fault_of(key, "a key") or fault_of(item, below(path, key)):
                return fault
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if fault := fault_of(item, f"{path}[{index}]"):
                return fault
    return ""


def below(path: str, name: str) -> str:
    """The path of a field of an object that is itself at a path."""
    return f"{path}.{name:.80}" if path else f"{name:.80}"


def mended(value: Any) -> Any:
    """A value with U+FFFD where a text holds a NUL or half of a surrogate pair.

    Lists and objects in it are changed in place: they may be large.
    """
    if isinstance(value, str) and _UNFIT.search(value):
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return whole.replace("\0", "\ufffd")
    if isinstance(value, list):
        for index, item in enumerate(value):
            value[index] = mended(item)
    elif isinstance(value, dict):
        if _UNFIT.search("".join(value)):
            names = list(value)
            items = [(mended(name), value.pop(name)) for name in names]
            value.update(items)
        for name, item in value.items():
            value[name] = mended(item)
    return value


def _load(text: str | bytes, place: str, kind: str) -> tuple[Any, str]:
    try:
        whole = text if isinstance(text, str) else text.decode()
        whole.encode()
        whole = whole.removeprefix("\ufeff")
        value = json.loads(whole, object_pairs_hook=_unique)
    except UnicodeError as error:
        raise UserError(
            f"{place}: not {kind}, as it is not a UTF-8 text ({error})."
        ) from error
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: not {kind} ({error}).") from error
    except _Twice as error:
        raise UserError(f"{place}: {error}") from None
    except ValueError:  # Python's own bound, in words about Python
        raise UserError(f"{place}: a number has thousands of digits.") from None
    except RecursionError:
        deep = True
    else:
        deep = whole.count("[") + whole.count("{") > _DEEPEST and _is_deep(value)
    if deep:
        raise UserError(
            f"{place}: not {kind} (its values are nested more than {_DEEPEST} deep)."
        )
    return value, whole


class _Twice(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Twice(f"'{twice:.80}' stands twice in an object.")
    return found


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for group in level
            if isinstance(group, dict | list)
            for item in (group.values() if isinstance(group, dict) else group)
        ]
    return any(isinstance(item, dict | list) for item in level)
