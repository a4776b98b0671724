"""Flagfiles: where one is that a name means, and what its lines say.

A name is a path, or that of one of the package's configs, in any folder. The configs
are configs/ in a clone, and come with the package where it was installed.
"""

import difflib
import os
import re
from collections.abc import Sequence

from avl_tf.errors import UserError

_HERE = os.path.dirname(os.path.abspath(__file__))
# setup.cfg puts the configs into the wheel as the first; the second is a clone's.
_FOLDERS = [
    os.path.join(_HERE, "config_files"),
    os.path.join(os.path.dirname(_HERE), "configs"),
]
# How a clone's configs are called from its top.
PREFIX = "configs/"


def configs() -> dict[str, str]:
    """Returns the path of each of the package's configs by its name, in order."""
    for folder in filter(os.path.isdir, _FOLDERS):
        names = sorted(os.listdir(folder))
        return {
            name: os.path.join(folder, name)
            for name in names
            if name.endswith(".flags")
        }
    return {}


def find(name: str, beside: str = "", reading: Sequence[str] = ()) -> str:
    """Returns the path of the flagfile that a name means.

    That is the file of that name, from the current folder or beside the flagfile that
    names it. The name of a config, with or without configs/ before it, also means that
    of the current folder or of its configs/, else the package's own.

    Args:
        name: as it was given.
        beside: path of the flagfile that names it, if one does.
        reading: paths that are not meant, for they lead here: a flagfile can have the
            name of the config that it begins with.

    Raises:
        FileNotFoundError: there is none; tells of the names that are near.
        UserError: the only one leads to itself.
    """
    path, own, config = os.path.expanduser(name), configs(), name.removeprefix(PREFIX)
    places = [path]
    if beside not in own.values():
        places.append(os.path.join(os.path.dirname(beside), path))
    if config in own:
        places += [config, PREFIX + config, own[config]]
    # No regular file is a pipe, as a shell's <(...) is.
    found = [path for path in places if os.path.exists(path)]
    found = [path for path in found if not os.path.isdir(path)]
    for path in found:
        if not any(os.path.samefile(path, other) for other in reading):
            return path
    named = f", which {beside} names" if beside else ""
    if found:
        raise UserError(f"{name}{named}: this flagfile leads to itself.")
    raise FileNotFoundError(
        f"{name or '(no name)'}{named}: no such flagfile, and no config of this "
        f"package. {near(name)}"
    )


def near(name: str) -> str:
    """Tells which configs have names near this one, and what lists them all."""
    stems = [config.removesuffix(".flags") for config in configs()]
    given, _ = os.path.splitext(os.path.basename(name).lower())
    names = [f"{stem}.flags" for stem in difflib.get_close_matches(given, stems, n=4)]
    told = f"Near are {', '.join(names)}; " if names else ""
    return f"{told}avl-configs lists them all."


def expand(arguments: Sequence[str]) -> list[str]:
    """Puts the lines of a flagfile in the place of each --flagfile, theirs too.

    Args:
        arguments: of a command line, without the program; after "--" all stays.

    Raises:
        FileNotFoundError: a flagfile is not there.
        OSError: one cannot be read.
        UserError: one is no text, or leads to itself.
    """
    return _expand(arguments, [])


def read(path: str) -> list[str]:
    """Returns what a flagfile and those that it names say, a flag each.

    Raises:
        As expand.
    """
    return _expand(_lines(path), [path])


def _expand(arguments: Sequence[str], reading: list[str]) -> list[str]:
    expanded: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        match = re.fullmatch(r"--?flagfile(?:=(.*))?", argument, re.DOTALL)
        if argument == "--":
            return [*expanded, argument, *rest]
        if not match:
            expanded.append(argument)
        elif match[1] is None and not rest:
            raise UserError("--flagfile: which one? Write --flagfile=NAME.")
        else:
            name = rest.pop(0) if match[1] is None else match[1]
            path = find(name.strip(), reading[-1] if reading else "", reading)
            expanded += _expand(_lines(path), [*reading, path])
    return expanded


def _lines(path: str) -> list[str]:
    """The lines of a flagfile that are flags, without the space around them."""
    try:
        with open(path, encoding="utf-8-sig") as stream:
            lines = [line.strip() for line in stream]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no text in UTF-8, as flagfiles are: {error}") from (
            error
        )
    return [line for line in lines if line and not line.startswith(("#", "//"))]


def description(path: str) -> str:
    """Returns the first line of a config, a comment that tells what it is."""
    with open(path, encoding="utf-8") as stream:
        return stream.readline().removeprefix("#").strip()
