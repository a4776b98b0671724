"""The values of list flags: items with commas between, and paths that hold commas.

absl reads them as a line of csv: an item in double quotes may hold commas.
"""

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from avl_tf import local_paths
from avl_tf.errors import UserError

RULE = (
    "Commas part items; one that holds a comma itself stands in double quotes, as in "
    """--flag='"a=x,y",b=z'."""
)

_LANGUAGE = re.compile(r"\s*[A-Za-z][\w-]*\s*=", re.ASCII)
# What could not be told from the names of metrics, such as es2v.
_UNTELLABLE = re.compile(r"^v$|2[a-z]", re.ASCII | re.IGNORECASE)


def to_text(items: Iterable[Any]) -> str:
    """What a list flag reads as these items."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(items)
    return out.getvalue()


def require_no_path_cut(items: Sequence[str], flag: str) -> None:
    """Makes sure that no comma that parted two items is one of a path.

    Args:
        items: as the flag was read, PATH or NAME=PATH; a path may be FOLDER/SPLIT.
        flag: its name, for the message.

    Raises:
        UserError: what stands before a comma and behind it makes, with the comma, the
            path of something local that is there.
    """
    for first in range(len(items)):
        for last in range(first + 1, len(items)):
            for comma in (",", ", "):
                whole = comma.join(items[first : last + 1])
                path = whole.partition("=")[2].strip() or whole
                path = path[_end_of_language(path) :].strip()
                folder = os.path.dirname(path)
                # A split is no file; the last comma must lie in its folder's path.
                cut = len(path) - len(folder) < len(items[last])
                if os.path.exists(path) or cut and os.path.exists(folder):
                    raise UserError(
                        f"--{flag}: the comma in '{path}' is read as the end of an "
                        f"item, but something of that name is there. {RULE}"
                    )


def parse_named(
    items: Iterable[str], flag: str, value: str = "VALUE"
) -> dict[str, str]:
    """Reads the NAME=VALUE items of a list flag.

    Args:
        items: the flag's.
        flag: its name, for messages.
        value: what the values are, for messages.

    Raises:
        ValueError: an item is not of that form, a name stands twice, or a comma between
            two items belongs to a path.
    """
    items = list(items)
    require_no_path_cut(items, flag)
    named: dict[str, str] = {}
    for item in items:
        name, equals, text = (part.strip() for part in item.partition("="))
        if not (name and equals and text) or name in named:
            raise UserError(
                f"--{flag}: expected NAME={value},NAME={value} with each name once, "
                f"got '{item}'. {RULE}"
            )
        named[name] = text
    return named


def match_stage(item: str) -> re.Match[str] | None:
    """Matches name=flagfile[@parent], of a list of stages: its three groups."""
    return re.fullmatch(r"([\w.-]+)=([^@]+?)(?:@(.+))?", item.strip())


def parse_records(text: str, flag: str = "records") -> dict[str, str]:
    """Reads the records of a flag: a path, or LANGUAGE=PATH with commas between.

    Returns:
        The paths by language, in order; {"": path} of a path alone. A path that holds
        records is one, whatever is in it.

    Raises:
        ValueError: a language stands twice, has no path or a name that metrics have no
            place for, or as parse_named.
    """
    if local_paths.holds_records(text) or not _LANGUAGE.match(text.lstrip(' "')):
        return {"": text}
    try:
        items = next(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"--{flag}: {error}. {RULE}") from None
    return _by_language(items, flag)


def parse_evaluate(items: Iterable[str]) -> dict[str, dict[str, str]]:
    """Reads the evaluation sets: NAME=PATH, or NAME=LANGUAGE=PATH with + between.

    Returns:
        By name, the paths by language as parse_records.

    Raises:
        ValueError: as parse_records, or a name stands twice.
    """
    sets = {}
    for name, text in parse_named(items, "evaluate", "RECORDS").items():
        sets[name] = {"": text}
        if _end_of_language(text):
            parts = re.split(rf"\+(?={_LANGUAGE.pattern})", text)
            sets[name] = _by_language(parts, "evaluate", f"{name}=", "+")
    return sets


def _end_of_language(text: str) -> int:
    """Where the path begins, behind the LANGUAGE= of a text; 0 if there is none."""
    found = _LANGUAGE.match(text)
    # A folder may be called a=b.
    return found.end() if found and not local_paths.holds_records(text) else 0


def _by_language(
    items: Sequence[str], flag: str, before: str = "", between: str = ","
) -> dict[str, str]:
    require_no_path_cut(items, flag)
    paths: dict[str, str] = {}
    for item in items:
        end = _end_of_language(item)
        language, path = item[:end].strip(" ="), item[end:].strip()
        if not (language and path) or language in paths:
            raise UserError(
                f"--{flag}: expected {before}LANGUAGE=PATH{between}LANGUAGE=PATH with "
                f"each language once, got '{item}'. {RULE}"
            )
        if _UNTELLABLE.search(language):
            raise UserError(
                f"--{flag}: a language cannot be called '{language}': metrics would be "
                "as those of another, as v2es is from what is seen to es. Give it "
                "another name."
            )
        paths[language] = path
    return paths
