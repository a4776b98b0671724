"""The allow-list: every name that a torch file may use, and what it stands for.

Tensors and arrays, and the small things that stand next to them in checkpoints:
OrderedDict, defaultdict, Counter, argparse.Namespace, torch.Size, device and dtype. All
of it is rebuilt here as plain data; nothing of torch's or Python's own is called.
"""

from collections.abc import Callable

from avl_tf.errors import UserError
from avl_tf.torch_weights.budget import DICT, KEY, NUMBER, OBJECT, Budget
from avl_tf.torch_weights.byte_window import Window
from avl_tf.torch_weights.pickle_values import (
    AttributedDict,
    Constructor,
    Placeholder,
    UnsafePickleError,
    describe,
    set_keys,
)
from avl_tf.torch_weights.pickled_numpy import checked_shape, numpy_names
from avl_tf.torch_weights.pickled_torch import (
    DTYPES,
    STORAGE_TYPES,
    Storage,
    Tensor,
    TorchDtype,
)


class _Namespace(Placeholder):
    """An argparse.Namespace; becomes the dictionary of its attributes."""

    def __init__(self):
        self._attributes = {}

    def set_state(self, state):
        if type(state) is not dict:
            raise UnsafePickleError(f"a Namespace's state is {describe(state)}")
        self._attributes = state

    def value(self):
        return self._attributes


def allowed_names(
    budget: Budget, load_from_bytes: Callable[[object], Storage] | None
) -> dict[str, object]:
    """Returns what the names in a torch file may be, for safe_pickle.load.

    Args:
        budget: of the file.
        load_from_bytes: reads the storage in a torch file held by a byte string; None
            where there may be none, as within such a string.
    """

    def tensor(storage, offset, size, stride, grad=False, hooks=None, metadata=None):
        _refuse_metadata(metadata)
        dtype = storage.dtype if isinstance(storage, Storage) else None
        return Tensor(storage, offset, size, stride, dtype, budget)

    def tensor_v3(storage, offset, size, stride, grad, hooks, dtype, metadata=None):
        _refuse_metadata(metadata)
        return Tensor(storage, offset, size, stride, dtype, budget)

    def parameter(data, requires_grad=False, hooks=None, state=None):
        if not isinstance(data, Tensor):
            raise UnsafePickleError(f"a parameter's data is {describe(data)}")
        return data

    def encode(text, encoding):
        # How protocols below 3 write bytes.
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise UnsafePickleError("it encodes something else than Latin-1 text")
        budget.spend(len(text))
        budget.count(OBJECT // 4)
        return text.encode("latin-1")

    def bytes_of(data=b"", encoding="latin-1"):
        return encode(data, encoding) if isinstance(data, str) else _bytes(data)

    def ordered_dict(pairs=()):
        # Without arguments, but Python 2 lists the pairs.
        budget.spend(64 * len(pairs))
        budget.count(OBJECT + KEY * len(pairs))
        result = AttributedDict()
        set_keys(result, pairs)
        return result

    def reconstructor(cls, base, state):
        # How protocols 0 and 1 write an object.
        if not isinstance(cls, Constructor) or cls.name != "argparse.Namespace":
            raise UnsafePickleError(f"it constructs {describe(cls)}")
        return namespace()

    def namespace():
        budget.count(OBJECT)
        return _Namespace()

    def default_dict(factory=None):
        if factory is not None and not isinstance(factory, Constructor):
            raise UnsafePickleError(f"a defaultdict's default is {describe(factory)}")
        budget.count(DICT)
        return {}

    def complex_number(real, imaginary):
        if type(real) is not float or type(imaginary) is not float:
            raise UnsafePickleError(
                "it makes a complex number of something else than two"
            )
        budget.count(NUMBER)
        return complex(real, imaginary)

    def device(kind, index=None):
        # A short kind: each mention of a device makes a text of its own.
        short = type(kind) is str and len(kind) < 32
        if not short or type(index) not in (int, type(None)):
            raise UnsafePickleError(f"a torch.device is {describe(kind)}")
        budget.count(2 * NUMBER)
        return kind if index is None else f"{kind}:{index}"

    constructors: dict[str, Callable | None] = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": tensor_v3,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch.Size": checked_shape,
        "torch.device": device,
        "collections.OrderedDict": ordered_dict,
        "collections.defaultdict": default_dict,
        "collections.Counter": _counter,
        "argparse.Namespace": namespace,
        "_codecs.encode": encode,
    }
    if load_from_bytes is not None:
        constructors["torch.storage._load_from_bytes"] = load_from_bytes
    for builtins in ("builtins", "__builtin__"):
        constructors[f"{builtins}.bytes"] = bytes_of
        constructors[f"{builtins}.bytearray"] = bytes_of
        constructors[f"{builtins}.complex"] = complex_number
        # Arguments of a defaultdict and of a reconstructor; never called.
        for name in ("list", "dict", "int", "float", "str", "object"):
            constructors[f"{builtins}.{name}"] = None
    for copyreg in ("copyreg", "copy_reg"):
        constructors[f"{copyreg}._reconstructor"] = reconstructor
    constructors |= dict.fromkeys(STORAGE_TYPES)

    return {
        **{name: Constructor(name, build) for name, build in constructors.items()},
        **{f"torch.{dtype}": TorchDtype(dtype) for dtype in DTYPES},
        **numpy_names(budget),
    }


def _refuse_metadata(metadata):
    # {"conj": True}: the stored numbers are not yet conjugated, or negated.
    if metadata:
        raise UserError(
            "a tensor's conjugation or negation is pending; save tensor.resolve_conj()"
            ".resolve_neg()"
        )


def _bytes(data):
    if not isinstance(data, (bytes, Window)):
        raise UnsafePickleError(f"it makes bytes of {describe(data)}")
    return data


def _counter(counts):
    if type(counts) is not dict:
        raise UnsafePickleError(f"a Counter counts {describe(counts)}")
    return counts
