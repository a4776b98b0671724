"""Pickles written by hand: some ask for more than data, some for more than memory."""

import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import torch_files

MB = 1 << 20
LOTS = b"\xff\xff\xff\x7f"  # as a length of four bytes: 2 GiB


class _Call:
    """Pickles as the call of a function."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(name, *arguments):
    """Writes the call of module.function with written arguments."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n(".encode() + b"".join(arguments) + b"tR"


def _dtype(name):
    return call("numpy.dtype", text(name), b"\x89", b"\x88")


_FLOAT64 = _dtype("f8")
_RECONSTRUCT = "numpy.core.multiarray._reconstruct"
_EMPTY_ARRAY = call(_RECONSTRUCT, b"cnumpy\nndarray\n", b"K\0\x85", b"C\1b")


def _array(shape, dtype, data):
    return _EMPTY_ARRAY + b"(K\1" + shape + dtype + b"\x89" + data + b"tb"


def _storage_in_a_storage():
    data = torch_files.legacy_bytes(torch_files.Storage(np.zeros(2)))
    inner = b"ctorch.storage\n_load_from_bytes\n"
    return data.replace(b"ctorch\nDoubleStorage\n", inner)


# Name -> (the pickle without its frame, what the message must say).
UNSAFE = {
    "os.system": (call("os.system", text("touch pwned")), "names os.system"),
    "posix": (pickle.dumps(_Call(os.system, ("true",)), 2)[2:-1], "names posix.system"),
    "eval": (call("builtins.eval", text("1+1")), "names builtins.eval"),
    "exec": (call("builtins.exec", text("1")), "names builtins.exec"),
    "getattr": (call("__builtin__.getattr", b"K\1", text("real")), "getattr"),
    "open": (call("io.open", text("pwned"), text("w")), "names io.open"),
    "Popen": (call("subprocess.Popen", text("true")), "names subprocess.Popen"),
    "runstring": (
        call("numpy.testing._private.utils.runstring", text("1"), b"}"),
        "names numpy.testing._private.utils.runstring",
    ),
    "numpy.load": (call("numpy.load", text("file.pth")), "names numpy.load"),
    "torch.load": (call("torch.load", text("file.pth")), "names torch.load"),
    "name with dots": (
        text("torch._utils") + text("_rebuild_tensor_v2.__globals__") + b"\x93",
        "_rebuild_tensor_v2.__globals__",
    ),
    "long name": (b"c" + b"x" * 10000 + b"\ny\n", "names x{100},"),
    "partial": (call("functools.partial", b"cos\nsystem\n"), "functools.partial"),
    "set": (b"\x8f", "EMPTY_SET"),
    "frozenset": (b"(K\1\x91", "FROZENSET"),
    "classic instance": (b"(" + text("true") + b"ios\nsystem\n", "INST"),
    "classic object": (b"(ccollections\nOrderedDict\no", "OBJ"),
    "keyword arguments": (b"ccollections\nOrderedDict\n)}\x92", "NEWOBJ_EX"),
    "extension 1": (b"\x82\1", "EXT1"),
    "extension 2": (b"\x83\1\0", "EXT2"),
    "extension 4": (b"\x84\1\0\0\0", "EXT4"),
    "persistent id as a line": (b"Pstorage\n", "PERSID"),
    "persistent id": (text("x") + b"Q", "persistent id outside"),
    "outside buffer": (b"\x97", "NEXT_BUFFER"),
    "read-only buffer": (b"\x98", "READONLY_BUFFER"),
    "call of text": (text("os.system") + b")R", "calls a value of type str"),
    "call of a storage class": (b"ctorch\nFloatStorage\n)R", "calls torch.FloatSto"),
    "new ndarray": (b"cnumpy\nndarray\nK\1\x85\x81", "calls numpy.ndarray"),
    "function as data": (b"ctorch._utils\n_rebuild_tensor\n", "holds torch._utils"),
    "state of a function": (
        b"ctorch._utils\n_rebuild_tensor\n}" + text("__code__") + b"Nsb",
        "state of torch._utils._rebuild_tensor",
    ),
    "state of a dictionary": (b"}}" + text("a") + b"K\1sb", "state of .* dict"),
    "slots of an OrderedDict": (
        call("collections.OrderedDict") + b"N}" + text("items") + b"K\1s\x86b",
        "state of .* AttributedDict",
    ),
    "state of a number": (b"K\1}b", "state of .* int"),
    "state of a size": (call("torch.Size", b")") + b"}b", "state of .* tuple"),
    "append to an array": (_EMPTY_ARRAY + b"K\1a", "appends to"),
    "key of an array": (_EMPTY_ARRAY + b"K\1K\1s", "sets a key of"),
    "tuple as key": (b"}K\1\x85K\1s", "dictionary key is .* tuple"),
    "array as key": (b"}" + _EMPTY_ARRAY + b"K\1s", "dictionary key is"),
    "objects in an array": (_array(b"K\1\x85", _dtype("O8"), b"]"), "dtype O8"),
    "structure in an array": (_dtype("V8"), "dtype V8"),
    "fields of a dtype": (
        _FLOAT64 + b"(K\3" + text("<") + b"N(" + text("a") + b"tN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
        "structured",
    ),
    "fields in a dtype's name": (_dtype("f8,f8"), "dtype f8,f8"),
    "state of a dtype": (_FLOAT64 + b"(K\3tb", "dtype's state"),
    "dtype of a class": (call("numpy.dtype", b"cnumpy\nndarray\n"), "numpy.ndarray"),
    "list as an array's data": (_array(b"K\1\x85", _FLOAT64, b"]K\1a"), "data is"),
    "subclass of ndarray": (
        call(_RECONSTRUCT, b"cnumpy\ndtype\n", b")", b"C\1b"),
        "NumPy array of numpy.dtype",
    ),
    "other codec": (call("_codecs.encode", text("a"), text("zlib")), "encodes"),
    "function as default": (
        call("collections.defaultdict", b"cos\nsystem\n"),
        "names os.system",
    ),
    "reconstruction": (
        call("copyreg._reconstructor", b"ctorch\nSize\n", b"cbuiltins\nobject\n", b"N"),
        "constructs torch.Size",
    ),
    "tensor of a number": (
        call("torch._utils._rebuild_tensor", b"K\1K\0))"),
        "storage is a value of type int",
    ),
    "storage in a storage": (
        call(
            "torch.storage._load_from_bytes",
            pickle.dumps(_storage_in_a_storage())[11:-2],
        ),
        "names torch.storage._load_from_bytes",
    ),
}

_STORAGE = torch_files.pickle_bytes(torch_files.Storage(np.zeros(MB, np.uint8)), 3)
_NOT_THERE = "bytes are wanted at byte"
_DEEP = "nested over 64 deep"
_MANY_TIMES = "4 times the file's size"
# Name -> (the pickle, what the message must say).
BOMBS = {
    "text": (b"X" + LOTS, _NOT_THERE),
    "long text": (b"\x8d" + LOTS + b"\0\0\0\0", _NOT_THERE),
    "bytes": (b"B" + LOTS, _NOT_THERE),
    "long bytes": (b"\x8e" + LOTS + LOTS, _NOT_THERE),
    "bytearray": (b"\x96" + LOTS + b"\0\0\0\0", _NOT_THERE),
    "string": (b"T" + LOTS, _NOT_THERE),
    "frame": (b"\x80\4\x95" + LOTS + b"\0\0\0\0", _NOT_THERE),
    "integer": (b"\x8b" + LOTS, _NOT_THERE),
    "negative length": (b"\x8b\xff\xff\xff\xff", "count < 0"),
    "digits": (b"I" + b"9" * 300_000 + b"\n.", "limit"),
    "memo": (b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.", "never remembered"),
    "marks": (b"(" * 100_000 + b".", "empty stack"),
    "lists in lists": (b"]" * 100_001 + b"a" * 100_000 + b".", _DEEP),
    "tuples in tuples": (b")" + b"\x85" * 200_000 + b".", _DEEP),
    "list in itself": (b"]\x94h\0a.", _DEEP),
    "deep key": (b"})" + b"\x85" * 200_000 + b"Ns.", "dictionary key"),
    "wide key": (b"})" + b"2\x86" * 60 + b"Ns.", "dictionary key"),
    "array": (_array(b"J" + LOTS + b"\x85", _FLOAT64, b"C\0") + b".", "has 0 bytes"),
    "array without data": (_EMPTY_ARRAY + b".", "no data"),
    "wide text": (_array(b"K\1\x85", _dtype("U9999999"), b"C\0") + b".", "has 0 bytes"),
    "text of no width": (
        _array(b"J" + LOTS + b"\x85", _dtype("U0"), b"C\0") + b".",
        "dtype U0",
    ),
    "scalar": (
        call("numpy.core.multiarray.scalar", _dtype("S9999999"), b"C\0") + b".",
        "has 0 bytes",
    ),
    "axes": (_array(b"(" + b"K\1" * 100 + b"t", _FLOAT64, b"C\0") + b".", "sizes"),
    "empty but wide": (
        _array(b"(K\0\x8a\x09" + b"\xff" * 8 + b"\0t", _FLOAT64, b"C\0") + b".",
        "dimension",
    ),
    "arrays of the same bytes": (
        b"(B" + struct.pack("<I", MB) + bytes(MB) + b"\x940"
        + _array(b"J\0\0\x10\0\x85", _dtype("u1"), b"h\0") * 100 + b"l.",
        _MANY_TIMES,
    ),
    "bytes of the same text": (
        b"(" + text("a" * MB) + b"\x940"
        + call("_codecs.encode", b"h\0", text("latin1")) * 1000 + b"l.",
        _MANY_TIMES,
    ),
    "dictionaries of the same pairs": (
        b"((" + b"".join(b"(J" + struct.pack("<i", n) + b"Nl" for n in range(20_000))
        + b"l\x940" + call("collections.OrderedDict", b"h\0") * 1000 + b"l.",
        _MANY_TIMES,
    ),
    "devices of the same text": (
        b"(" + text("a" * MB) + b"\x940"
        + call("torch.device", b"h\0K\1") * 1000 + b"l.",
        "torch.device is",
    ),
    "tensors of the same storage": (
        b"(" + _STORAGE[2:-1] + b"q\xff0"
        + call(
            "torch._utils._rebuild_tensor",
            b"h\xffK\0" + b"M\0\2M\0\2\x86" + b"K\1M\0\2\x86",
        ) * 200 + b"l.",
        _MANY_TIMES,
    ),
}  # fmt: skip


def zip_of(entries):
    """Writes a zip archive of name -> bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def overlapping_zip(n_storages=16, size=MB):
    """Writes a checkpoint whose storages all end in the same bytes of the file."""
    infos = []
    content = bytes(size)
    for number in reversed(range(n_storages)):
        info = zipfile.ZipInfo(f"archive/data/{number}")
        info.file_size = info.compress_size = len(content)
        info.CRC = zlib.crc32(content)
        content = info.FileHeader() + content
        infos.append((info, len(content)))
    tensors = [
        torch_files.tensor(np.zeros(info.file_size, np.uint8))
        for info, _ in infos[::-1]
    ]
    honest = zipfile.ZipFile(io.BytesIO(torch_files.zip_bytes(tensors)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", honest.read("archive/data.pkl"))
        end = archive.start_dir + len(content)
        for info, distance in infos:
            info.header_offset = end - distance
            archive.filelist.append(info)
        file.write(content)
        archive.start_dir = end
    return file.getvalue()
