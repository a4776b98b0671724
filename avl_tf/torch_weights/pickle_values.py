"""What a safely read pickle is made of, and how that becomes plain data.

safe_pickle.load builds lists, tuples, dictionaries and scalars, and besides: Windows
for long byte strings that are still in the file, Placeholders for arrays whose bytes
are not yet found, Constructors for the names it met. resolve() leaves only plain data.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from avl_tf.errors import UserError
from avl_tf.torch_weights.byte_window import Window

_MAX_DEPTH = 64
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


def checked_dict(pairs: Iterable[tuple[object, object]]) -> dict:
    """Makes a dictionary of pairs whose keys are scalars.

    Raises:
        UnsafePickleError: a key is something else.
    """
    result = {}
    for key, value in pairs:
        # Hashing a tuple of tuples of tuples... overflows the interpreter's stack.
        if type(key) not in _KEY_TYPES:
            raise UnsafePickleError(f"a dictionary key is {describe(key)}")
        result[key] = value
    return result


def describe(value: object) -> str:
    """Names a loaded value in an error message, without a look inside."""
    if isinstance(value, Constructor):
        return value.name
    return f"a value of type {type(value).__name__}"


def resolve(value: object) -> object:
    """Makes plain data of a loaded value. What it shares stays shared.

    Raises:
        UnsafePickleError: a class or function is itself a value.
        ValueError: containers are nested too deeply, or in themselves.
    """
    return _resolve(value, 0, {})


def _resolve(value: Any, depth: int, done: dict[int, tuple]) -> Any:
    if type(value) in _SCALAR_TYPES:
        return value
    if id(value) in done:
        return done[id(value)][1]
    if depth > _MAX_DEPTH:
        raise UserError(f"its data is nested over {_MAX_DEPTH} deep, or in itself")
    if isinstance(value, Window):
        result: Any = value.restarted().read(len(value))
    elif isinstance(value, list):
        result = [_resolve(item, depth + 1, done) for item in value]
    elif isinstance(value, tuple):
        result = tuple([_resolve(item, depth + 1, done) for item in value])
    elif isinstance(value, dict):
        result = {key: _resolve(item, depth + 1, done) for key, item in value.items()}
    elif isinstance(value, Placeholder):
        result = value.value()
        if isinstance(result, (list, tuple, dict, Placeholder, Window)):
            result = _resolve(result, depth + 1, done)
    else:
        raise UnsafePickleError(f"its data holds {describe(value)}")
    # The value is kept too, or another object could get its id meanwhile.
    done[id(value)] = (value, result)
    return result
