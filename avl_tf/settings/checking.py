"""A check of a configuration that comes from a file, by its settings' declarations."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from avl_tf import fields, settings


def check(config_class: type, others: Mapping[str, fields.Check]) -> fields.Check:
    """Checks what asdict makes of a configuration, by its settings' types and limits.

    Args:
        config_class: the dataclass; fields that have a default may be missing.
        others: checks of the fields that are no settings.
    """
    types = settings.types_of(config_class)
    checks = {
        field.name: _check(types[field.name], field.metadata)
        for field in settings.declared(config_class)
    }
    optional = [
        field.name
        for field in dataclasses.fields(config_class)
        if field.default is not dataclasses.MISSING
    ]
    return fields.record({**checks, **others}, optional)


def _check(kind: Any, metadata: Mapping[str, Any]) -> fields.Check:
    if metadata["choices"]:
        return fields.choice(*metadata["choices"])
    limits = metadata["limits"]
    if kind is bool:
        return fields.boolean
    if kind in (int, float):
        return (fields.whole if kind is int else fields.number)(*limits)
    if kind is str:
        return fields.text(empty=True)
    (item,) = {k for k in typing.get_args(kind) if k is not Ellipsis}
    return fields.items(fields.whole(*limits) if item is int else fields.text())
