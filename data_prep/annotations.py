"""Reads the text files that corpora are published in: JSON, csv, lists of lines.

Whatever is wrong with one is a ValueError that names the file and the place.
"""

import csv
import os
from collections.abc import Sequence
from typing import Any

from avl_tf import json_text
from avl_tf.errors import UserError


def find_file(folder: str, *names: str) -> str:
    """Finds a published file in a folder or below; the first name that is there wins.

    Raises:
        FileNotFoundError: there is none of that name.
        ValueError: there are several of a name.
    """
    found = optional_file(folder, *names)
    if found is None:
        raise FileNotFoundError(f"{folder}: no {' or '.join(names)} in it or below.")
    return found


def optional_file(folder: str, *names: str) -> str | None:
    """As find_file; None if there is no such file."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder.")
    found: dict[str, list[str]] = {name: [] for name in names}
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in found.keys() & set(files):
            found[name].append(os.path.join(parent, name))
    for name in names:
        if len(found[name]) > 1:
            raise UserError(
                f"{folder}: several files are named {name}: {', '.join(found[name])}. "
                "Give a folder that has one."
            )
        if found[name]:
            return found[name][0]
    return None


def read_json(path: str, kind: type | tuple[type, ...] = dict) -> Any:
    """Reads a JSON file that holds a dict (or another kind of value).

    NaN and infinities are left to the caller. Where a text holds a NUL or half of a
    surrogate pair (a caption that was cut within an emoji), it has U+FFFD.
    """
    value = json_text.parse_foreign(_read_text(path), path)
    if not isinstance(value, kind):
        raise UserError(
            f"{path}: expected a {_names(kind)} in it, got a {type(value).__name__}."
        )
    return value


def field(value: Any, name: str, kind: type | tuple[type, ...], place: str) -> Any:
    """Returns value[name]; ValueError, beginning with `place`, if it is no `kind`."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind) or isinstance(found, bool):
        raise UserError(
            f"{place}: '{name}' must be a {_names(kind)}, got {found!r:.80}."
            if isinstance(value, dict)
            else f"{place}: expected an object with '{name}', got {value!r:.80}."
        )
    return found


def read_lines(path: str) -> list[str]:
    """Reads the lines of a text file, stripped, without empty ones."""
    return [line.strip() for line in _read_text(path).splitlines() if line.strip()]


def read_table(path: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Reads the rows of a csv with a header, by column.

    Cells are as they stand there; names in the header lose spaces around them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one of `columns` is missing, a column stands twice, or a row has not
            as many cells as the header.
    """
    faults: list[tuple[str, str]] = []
    rows = read_rows(path, columns, faults)
    if faults:
        raise UserError(faults[0][1])
    return [row for _, row in rows]


def read_rows(
    path: str,
    columns: Sequence[str],
    faults: list[tuple[str, str]],
    delimiter: str = ",",
) -> list[tuple[str, dict[str, str]]]:
    """Reads the rows of a csv with a header that are good; errors as read_table's.

    Args:
        path: the file.
        columns: that must be there.
        faults: gets (first cell, what is wrong) of a row of another width.
        delimiter: between cells.

    Returns:
        (place, row by column), where a place is "PATH: row 7".
    """
    rows = _read_rows(path, delimiter)
    header = [name.strip() for name in rows[0]] if rows else []
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise UserError(
            f"{path}: column {twice[0]} stands twice in its header. Rename one of them."
        )
    if not set(columns) <= set(header):
        got = delimiter.join(header)
        raise UserError(
            f"{path}: expected the header {delimiter.join(columns)}, got {got:.80}."
        )
    good = []
    for number, row in enumerate(rows[1:], 1):
        place = f"{path}: row {number}"
        if fault := _width_fault(row, len(header), place):
            faults.append((row[0].strip() or place, fault))
        else:
            good.append((place, dict(zip(header, row, strict=True))))
    return good


def read_cells(path: str, n_columns: int) -> list[list[str]]:
    """Reads the rows of a csv without a header; errors as read_table's."""
    rows = _read_rows(path, ",")
    for number, row in enumerate(rows, 1):
        if fault := _width_fault(row, n_columns, f"{path}: row {number}"):
            raise UserError(fault)
    return [[cell.strip() for cell in row] for row in rows]


def _names(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(kind.__name__ for kind in kinds)


def _width_fault(row: list[str], n_columns: int, place: str) -> str:
    if len(row) == n_columns:
        return ""
    return f"{place} has not {n_columns} cells. Quote a cell that holds a comma."


def _read_rows(path: str, delimiter: str) -> list[list[str]]:
    with _open(path) as file:
        try:
            return [row for row in csv.reader(file, delimiter=delimiter) if row]
        except UnicodeDecodeError as error:
            raise UserError(_not_utf_8(path, error)) from error
        except (csv.Error, ValueError) as error:
            raise UserError(f"{path}: {error}.") from error


def _read_text(path: str) -> str:
    with _open(path) as file:
        try:
            return file.read()
        except UnicodeDecodeError as error:
            raise UserError(_not_utf_8(path, error)) from error


def _not_utf_8(path: str, error: UnicodeDecodeError) -> str:
    return f"{path}: not a UTF-8 text file ({error})."


def _open(path: str):
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file.")
    return open(path, encoding="utf-8-sig", newline="")
