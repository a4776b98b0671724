"""What a safely read pickle is made of, and how that becomes plain data.

safe_pickle.load builds lists, tuples, dictionaries and scalars, and besides: Windows
for long byte strings that are still in the file, Placeholders for arrays whose bytes
are not yet found, Constructors for the names it met. resolve() leaves only plain data.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from avl_tf.errors import UserError
from avl_tf.torch_weights.budget import Budget
from avl_tf.torch_weights.byte_window import Window

_MAX_DEPTH = 64
_MAX_KEY_BITS = 64
# Bytes: a value written out, what need not be remembered, and what remembering takes.
_VALUE, _SMALL, _DONE = 8, 64, 240
_KEY_TYPES = frozenset([str, int, float, bool, bytes, type(None)])
_SCALAR_TYPES = _KEY_TYPES | {complex}


class UnsafePickleError(UserError):
    """A file asks for something that is neither plain data nor a known array."""


@dataclass(frozen=True)
class Constructor:
    """What a name in a pickle stands for; build makes a value of the arguments.

    Without build it may be mentioned (a class as an argument), not called.
    """

    name: str
    build: Callable[..., object] | None = None


class Placeholder:
    """A value that is known only when the whole pickle has been read."""

    def set_state(self, state: object) -> None:
        """Takes the state that a BUILD instruction gives."""
        raise UnsafePickleError(f"it sets the state of {describe(self)}")

    def value(self) -> object:
        """Returns a plain value, or a container in which placeholders may be."""
        raise NotImplementedError


class AttributedDict(dict):
    """A dictionary whose pickled attributes are dropped, as an OrderedDict's."""


def set_keys(target: dict, pairs: Iterable[tuple[object, object]]) -> None:
    """Sets the keys of pairs, which are scalars.

    Raises:
        UnsafePickleError: a key is something else.
    """
    for key, value in pairs:
        # Hashing a tuple of tuples of tuples... overflows the interpreter's stack.
        if type(key) not in _KEY_TYPES:
            raise UnsafePickleError(f"a dictionary key is {describe(key)}")
        # The multiples of 2^61 - 1 have one hash: thousands of them take hours.
        if type(key) is int and key.bit_length() > _MAX_KEY_BITS:
            raise UnsafePickleError(
                f"a dictionary key is a number of over {_MAX_KEY_BITS} bits"
            )
        target[key] = value


def describe(value: object) -> str:
    """Names a loaded value in an error message, without a look inside."""
    if isinstance(value, Constructor):
        return value.name
    return f"a value of type {type(value).__name__}"


def resolve(value: object, budget: Budget) -> object:
    """Makes plain data of a loaded value, in place. What it shares stays shared.

    Raises:
        UnsafePickleError: a class or function is itself a value.
        ValueError: containers are nested too deeply, or in themselves, or what they
            share is too much when written out.
    """
    (resolved,), size = _Resolver(budget).items((value,), 0)
    budget.require_written_out(size)
    return resolved


class _Resolver:
    """Resolves values, and tells how many bytes they are when written out."""

    def __init__(self, budget: Budget):
        self._budget = budget
        # id -> (value, what became of it, its size); the value is kept, or another
        # object could get its id meanwhile.
        self._done: dict[int, tuple[object, object, int]] = {}

    def items(self, items: Any, depth: int) -> tuple[Any, int]:
        """Resolves the items of a list or of a tuple, into which others may come."""
        size = _VALUE
        for index, item in enumerate(items):
            if type(item) in _SCALAR_TYPES:
                size += _written(item)
                continue
            resolved, size_of_item = self._resolve(item, depth + 1)
            size += size_of_item
            if resolved is not item:
                if type(items) is tuple:
                    items = list(items)
                items[index] = resolved
        return items, size

    def _resolve(self, value: Any, depth: int) -> tuple[object, int]:
        if type(value) in _SCALAR_TYPES:
            return value, _written(value)
        if id(value) in self._done:
            return self._done[id(value)][1:]
        if depth > _MAX_DEPTH:
            raise UserError(f"its data is nested over {_MAX_DEPTH} deep, or in itself")
        result: Any = value
        size = _VALUE
        if isinstance(value, Window):
            result = value.restarted().read(len(value))
            size += len(result)
        elif isinstance(value, list):
            _, size = self.items(value, depth)
        elif isinstance(value, tuple):
            items, size = self.items(value, depth)
            result = tuple(items)
        elif isinstance(value, dict):
            if type(value) is not dict:
                result = dict(value)
            for key, item in value.items():
                resolved, size_of_item = self._resolve(item, depth + 1)
                size += size_of_item + _written(key)
                if resolved is not item:
                    result[key] = resolved
        elif isinstance(value, Placeholder):
            result = value.value()
            if isinstance(result, (list, tuple, dict, Placeholder, Window)):
                result, size = self._resolve(result, depth + 1)
        elif not isinstance(value, np.ndarray):  # in a small list that is shared
            raise UnsafePickleError(f"its data holds {describe(value)}")
        # A small container is looked through again wherever it stands.
        if result is not value or size >= _SMALL:
            self._budget.count(_DONE)
            self._done[id(value)] = (value, result, size)
        return result, size


def _written(value: Any) -> int:
    return _VALUE + len(value) if type(value) in (str, bytes) else _VALUE
