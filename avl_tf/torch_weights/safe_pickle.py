"""A pickle machine that never runs what a pickle names.

In: a Window on a pickle of protocol 0-5, and a table of the names it may use. Out:
plain data, and what the table's entries build.

pickle.Unpickler with an own find_class is not enough for files from the internet: it
takes copyreg's extension codes past find_class, lets BUILD set attributes of whatever
it likes, allocates what a length or a memo index claims before it looks at the file,
and hashes tuples so deeply nested that the process dies. Here nothing but the table's
entries is called, dictionary keys are scalars, and nothing is read that the file does
not hold. Long byte strings stay in the file until an array takes them: a dataset of
several GB is in memory once.
"""

import pickle
import pickletools
from collections.abc import Callable, Mapping
from sys import getsizeof

from avl_tf.errors import UserError
from avl_tf.torch_weights.budget import (
    COSTS,
    KEY,
    LIST,
    NUMBER,
    OBJECT,
    REFERENCE,
    Budget,
)
from avl_tf.torch_weights.byte_window import Window
from avl_tf.torch_weights.pickle_arguments import READERS
from avl_tf.torch_weights.pickle_values import (
    AttributedDict,
    Constructor,
    Placeholder,
    UnsafePickleError,
    describe,
    set_keys,
)

_NOTHING = object()
_GAP = 8  # numbers that a memo may leave out: Python 2 counts from 1


def load(
    window: Window,
    names: Mapping[str, object],
    budget: Budget,
    persistent_load: Callable[[object], object] | None = None,
) -> object:
    """Runs the pickle at the window's position and leaves the window behind its end.

    Args:
        window: stands at the pickle's first byte.
        names: what "module.name" stands for: a Constructor or a Placeholder.
        budget: the file's.
        persistent_load: makes a value of a persistent id. None: there may be none.

    Returns:
        The value; pickle_values.resolve turns it into plain data.

    Raises:
        UnsafePickleError: the pickle asks for something that is not allowed.
        ValueError: it is damaged, or takes more memory than its size explains.
    """
    machine = _Machine(window, names, budget, persistent_load)
    while (opcode := window.read(1)) != pickle.STOP:
        if opcode not in _STEPS:
            raise _refusal(opcode, window)
        instruction, read_argument, cost = _STEPS[opcode]
        budget.objects -= cost
        if budget.objects < 0:
            budget.refuse()
        instruction(machine, read_argument(window) if read_argument else None)
    return machine.pop()


def _refusal(opcode, window):
    names = {info.code: info.name for info in pickletools.opcodes}
    known = names.get(opcode.decode("latin-1"))
    if known is None:
        return UserError(f"it is no pickle: byte {window.position - 1} is {opcode!r}")
    return UnsafePickleError(f"it uses the pickle instruction {known}")


class _Machine:
    """A run's state: the stack above the last mark, the stacks below, and the memo."""

    def __init__(self, window, names, budget, persistent_load):
        self.window = window
        self.names = names
        self.budget = budget
        self.persistent_load = persistent_load
        self.stack = []
        self.stacks_below = []
        self.memo = []
        self.memo_beyond = {}

    def push(self, value):
        self.stack.append(value)

    def push_sized(self, value):
        in_file = isinstance(value, Window)
        self.budget.count(OBJECT // 2 if in_file else getsizeof(value))
        self.stack.append(value)

    def top(self):
        if not self.stack:
            raise UserError("it is damaged: its pickle reads from an empty stack")
        return self.stack[-1]

    def pop(self):
        self.top()
        return self.stack.pop()

    def pop_last(self, count):
        if len(self.stack) < count:
            raise UserError("it is damaged: its pickle reads from an empty stack")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def pop_to_mark(self):
        if not self.stacks_below:
            raise UserError("it is damaged: its pickle returns to a mark it never set")
        self.budget.objects += LIST
        items, self.stack = self.stack, self.stacks_below.pop()
        return items


def _check_protocol(machine, protocol):
    if protocol > 5:
        raise UserError(f"its pickle is of protocol {protocol}; 0 to 5 are known")


def _mark(machine, _):
    machine.stacks_below.append(machine.stack)
    machine.stack = []


def _drop(machine, _):
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_to_mark()


def _append(machine, items):
    target = machine.top()
    if type(target) is not list:
        raise UnsafePickleError(f"it appends to {describe(target)}")
    target.extend(items)


def _set_items(machine, items):
    target = machine.top()
    if not isinstance(target, dict):
        raise UnsafePickleError(f"it sets a key of {describe(target)}")
    if len(items) % 2:
        raise UserError("it is damaged: its pickle holds a key without a value")
    machine.budget.count(len(items) // 2 * KEY)
    set_keys(target, zip(items[::2], items[1::2], strict=True))


def _make_dictionary(machine, _):
    items = machine.pop_to_mark()
    machine.push({})
    _set_items(machine, items)


def _remember(machine, index):
    value, memo = machine.top(), machine.memo
    missing = index + 1 - len(memo)
    if not 0 <= index < 1 << 32:
        raise UserError("it is damaged: its pickle remembers under no number")
    if 0 < missing <= _GAP:
        machine.budget.count(REFERENCE * missing)
        memo.extend([_NOTHING] * missing)
    if index < len(memo):
        memo[index] = value
    else:
        machine.budget.count(NUMBER + KEY)
        machine.memo_beyond[index] = value


def _recall(machine, index):
    memo = machine.memo
    value = memo[index] if 0 <= index < len(memo) else _NOTHING
    if value is _NOTHING:
        value = machine.memo_beyond.get(index, _NOTHING)
    if value is _NOTHING:
        raise UserError("it is damaged: its pickle recalls what it never remembered")
    machine.push(value)


def _push_global(machine, module_and_name):
    _push_name(machine, module_and_name.replace(" ", ".", 1))


def _push_stack_global(machine, _):
    module, name = machine.pop_last(2)
    if type(module) is not str or type(name) is not str:
        raise UserError("it is damaged: a name in its pickle is not text")
    _push_name(machine, f"{module}.{name}")


def _push_name(machine, full_name):
    if full_name not in machine.names:
        raise UnsafePickleError(
            f"it names {full_name:.100}, which is no tensor, array or plain data. "
            "Nothing was run. If you trust the file, save its tensors alone (a "
            "state_dict) with the program that wrote it"
        )
    machine.push(machine.names[full_name])


def _call(machine, _):
    function, arguments = machine.pop_last(2)
    if not isinstance(function, Constructor) or function.build is None:
        raise UnsafePickleError(f"it calls {describe(function)}")
    if type(arguments) is not tuple:
        raise UserError(f"it is damaged: {function.name} has no tuple of arguments")
    try:
        machine.push(function.build(*arguments))
    except TypeError as error:
        raise UserError(f"it calls {function.name} wrongly: {error}") from error


def _set_state(machine, _):
    state, target = machine.pop(), machine.top()
    if isinstance(target, Placeholder):
        target.set_state(state)
    elif type(target) is not AttributedDict or type(state) is not dict:
        raise UnsafePickleError(f"it sets the state of {describe(target)}")


def _push_persistent(machine, _):
    identity = machine.pop()
    if machine.persistent_load is None:
        raise UnsafePickleError("it holds a persistent id outside a .pth file's data")
    machine.push(machine.persistent_load(identity))


_SIZED = [
    getattr(pickle, name)
    for name in "LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
]
# What is not here is refused: sets, extension codes, classic instances, keyword
# arguments, persistent ids as text, buffers outside the file.
_INSTRUCTIONS = {
    pickle.INT: _Machine.push,
    pickle.BININT: _Machine.push,
    pickle.BININT1: _Machine.push,
    pickle.BININT2: _Machine.push,
    pickle.FLOAT: _Machine.push,
    pickle.BINFLOAT: _Machine.push,
    **dict.fromkeys(_SIZED, _Machine.push_sized),
    pickle.PROTO: _check_protocol,
    pickle.FRAME: lambda machine, length: None,  # only a hint how much to buffer
    pickle.NONE: lambda machine, _: machine.push(None),
    pickle.NEWTRUE: lambda machine, _: machine.push(True),
    pickle.NEWFALSE: lambda machine, _: machine.push(False),
    pickle.EMPTY_TUPLE: lambda machine, _: machine.push(()),
    pickle.TUPLE1: lambda machine, _: machine.push(tuple(machine.pop_last(1))),
    pickle.TUPLE2: lambda machine, _: machine.push(tuple(machine.pop_last(2))),
    pickle.TUPLE3: lambda machine, _: machine.push(tuple(machine.pop_last(3))),
    pickle.TUPLE: lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    pickle.EMPTY_LIST: lambda machine, _: machine.push([]),
    pickle.LIST: lambda machine, _: machine.push(machine.pop_to_mark()),
    pickle.APPEND: lambda machine, _: _append(machine, machine.pop_last(1)),
    pickle.APPENDS: lambda machine, _: _append(machine, machine.pop_to_mark()),
    pickle.EMPTY_DICT: lambda machine, _: machine.push({}),
    pickle.DICT: _make_dictionary,
    pickle.SETITEM: lambda machine, _: _set_items(machine, machine.pop_last(2)),
    pickle.SETITEMS: lambda machine, _: _set_items(machine, machine.pop_to_mark()),
    pickle.MARK: _mark,
    pickle.POP: _drop,
    pickle.POP_MARK: lambda machine, _: machine.pop_to_mark(),
    pickle.DUP: lambda machine, _: machine.push(machine.top()),
    pickle.MEMOIZE: lambda machine, _: _remember(machine, len(machine.memo)),
    pickle.PUT: _remember,
    pickle.BINPUT: _remember,
    pickle.LONG_BINPUT: _remember,
    pickle.GET: _recall,
    pickle.BINGET: _recall,
    pickle.LONG_BINGET: _recall,
    pickle.GLOBAL: _push_global,
    pickle.STACK_GLOBAL: _push_stack_global,
    pickle.REDUCE: _call,
    pickle.NEWOBJ: _call,
    pickle.BUILD: _set_state,
    pickle.BINPERSID: _push_persistent,
}

_STEPS = {
    opcode: (instruction, READERS.get(opcode), COSTS.get(opcode, REFERENCE))
    for opcode, instruction in _INSTRUCTIONS.items()
}
