"""What is promised of hostile pickles: memory and time by the size of the file."""

import json
import pickle
import struct
import subprocess
import sys

import hostile_pickles
import numpy as np
import pytest
import torch_files
from hostile_pickles import MB, text
from programs import environment

from avl_tf.torch_weights import TorchFileError, UnsafePickleError, read_torch_file
from data_prep.released_pickles import read_clips

_SIZE = 5 * MB // 2
_MANY = "more than 16 times the file's size"
_SHARED = "more than 32 times the file's size when written out"
_KEY = "a dictionary key is a number of over 64 bits"


def _times(unit, size=_SIZE):
    """A list of what a few bytes make, again and again."""
    return b"(" + unit * (size // len(unit)) + b"l."


def _calls(name, arguments):
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"\x940" + _times(b"h\0" + arguments)


def _integer(value):
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def _keys(keys):
    return b"}(" + b"".join(key + b"N" for key in keys) + b"u."


def _double(value):
    return b"G" + struct.pack(">d", value)


_PRIME = (1 << 61) - 1  # what Python's hashes of numbers are counted by
_LONG = b"\x8b" + struct.pack("<i", MB) + b"\x7f" * MB + b"\x940"
_SHARED_LIST = b"](" + b"N" * 1000 + b"e\x940"
# Name -> (the pickle, what the message must say or None if it is plain data).
DENSE = {
    "lists": (_times(b"]"), _MANY),
    "dictionaries": (_times(b"}"), _MANY),
    "lists of one": (_times(b"]Na"), _MANY),
    "dictionaries of one": (_times(b"}NNs"), _MANY),
    "tuples of one": (_times(b"N\x85"), _MANY),
    "lists by marks": (_times(b"(l"), _MANY),
    "lists in a list that grows": (b"]" + b"]a" * MB + b".", _MANY),
    "marks": (b"(" * _SIZE + b".", _MANY),
    "memo": (b"N" + b"\x94" * _SIZE + b".", None),
    "memo with gaps": (
        b"N" + b"".join(b"r" + struct.pack("<I", 50 * i) for i in range(MB // 2))
        + b".",
        _MANY,
    ),
    "memo of one hash": (
        b"N" + b"".join(b"p%d\n" % (k * _PRIME) for k in range(1, 30_000)) + b".",
        "under no number",
    ),
    "copies": (b"(N" + b"2" * _SIZE + b"l.", None),
    "texts": (_times(b"\x8c\2ab"), None),
    "bytes": (_times(b"C\2ab"), None),
    "numbers": (_times(b"M\xff\xfe"), None),
    "wide text": (
        b"X" + struct.pack("<I", _SIZE + 4) + b"a" * _SIZE
        + "\U0001f600".encode() + b".",
        None,
    ),
    "keys of one hash": (_keys(_integer(k * _PRIME) for k in range(1, 60_000)), _KEY),
    "negative keys of one hash": (
        _keys(_integer(7 - k * _PRIME) for k in range(1, 60_000)),
        _KEY,
    ),
    "keys of one hash, item by item": (
        b"}" + b"".join(_integer(k * _PRIME) + b"Ns" for k in range(1, 60_000)) + b".",
        _KEY,
    ),
    "keys of one hash in an OrderedDict": (
        hostile_pickles.call(
            "collections.OrderedDict",
            b"("
            + b"".join(_integer(k * _PRIME) + b"N\x86" for k in range(1, 60_000))
            + b"l",
        )
        + b".",
        _KEY,
    ),
    "fractions of few hashes": (
        _keys(
            _double(float(m) * 2.0 ** (61 * e))
            for e in range(-16, 16)
            for m in range(1, 8000)
        ),
        None,
    ),
    "texts as keys": (_keys(b"\x8c\6%06d" % k for k in range(MB // 4)), None),
    "a long number hashed again and again": (
        _LONG + b"}(" + b"h\0N" * (MB // 3) + b"u.",
        _KEY,
    ),
    "a shape of long numbers": (
        _LONG
        + hostile_pickles.call("torch.Size", b"(" + b"h\0" * 32 + b"t")
        + b".",
        "no.* tuple of sizes",
    ),
    "OrderedDicts": (_calls("collections.OrderedDict", b")R"), _MANY),
    "defaultdicts": (_calls("collections.defaultdict", b")R"), _MANY),
    "Namespaces": (_calls("argparse.Namespace", b")R"), _MANY),
    "dtypes": (_calls("numpy.dtype", text("f8") + b"\x85R"), _MANY),
    "a list again and again": (_SHARED_LIST + _times(b"h\0"), _SHARED),
    "a text again and again": (
        text("a" * MB) + b"\x940" + _times(b"h\0", MB),
        _SHARED,
    ),
    "lists of a list": (_SHARED_LIST + _times(b"(h\0h\0l"), _MANY),
    "lists that double": (
        b"](NNe\x94"
        + b"".join(b"0](h%ch%ce\x94" % (i, i) for i in range(50)) + b".",
        _SHARED,
    ),
    "tuples that double": (
        b"N\x94" + b"".join(b"0h%c2\x86\x94" % i for i in range(50)) + b".",
        _SHARED,
    ),
    "nothing": (b"N0" * (_SIZE // 2) + b"N.", None),
}  # fmt: skip

_READER = """
import json, os, pathlib, re, sys, time
from avl_tf.torch_weights import read_torch_file
status = pathlib.Path("/proc/self/status")
def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", status.read_text())[1])
for path in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    before, message = kilobytes("VmRSS"), None
    try:
        read_torch_file(path)
    except ValueError as error:
        message = str(error)
    found = message, (kilobytes("VmHWM") - before) * 1024, time.process_time()
    print(json.dumps(found), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Name -> (the message, bytes of memory, seconds of the processor)."""
    folder = tmp_path_factory.mktemp("dense")
    paths = [folder / f"{name}.pkl" for name in DENSE]
    for path, (data, _) in zip(paths, DENSE.values(), strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-c", _READER, *map(str, paths)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    lines = map(json.loads, done.stdout.splitlines())
    return dict(zip(DENSE, lines, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE)
def test_memory_and_time_are_by_the_size_of_the_file(measured, name):
    data, expected = DENSE[name]
    message, memory, seconds = measured[name]
    if expected is None:
        assert message is None
    else:
        assert message is not None
        with pytest.raises(ValueError, match=expected):
            raise ValueError(message)
    # 16 for values and 4 for the text or the file itself.
    assert memory < 20 * max(len(data), 2 * MB)
    assert seconds < 1 + 10e-6 * len(data)


@pytest.mark.parametrize("name", [n for n in DENSE if "hash" in n or "double" in n])
def test_what_would_take_for_ever_is_refused_at_once(tmp_path, name):
    data, message = DENSE[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    if message is None:
        read_torch_file(path)
    else:
        with pytest.raises((TorchFileError, UnsafePickleError), match=message):
            read_torch_file(path)


def test_keys_as_ordinary_files_have_them_are_read(tmp_path):
    value = {
        **{2**62 + k: "of 64 bits" for k in range(3)},
        **{-(2**63): 1, 2**64 - 1: 2, 140_000_000_000_000: "the id of an object"},
        **{0.5: 1, "a": 2, b"b": 3, None: 4, True: 5},
    }
    path = tmp_path / "a.pkl"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(value, protocol))
        assert read_torch_file(path) == value


@pytest.mark.slow
def test_annotations_of_millions_of_values_are_read(tmp_path):
    """The forms in which corpora come, beyond the 32 MB that any file may have."""
    captions = {
        f"video{i:06d}": {
            "start": [k / 7 for k in range(40)],
            "end": [k / 7 + 3 for k in range(40)],
            "text": [f"caption {i} {k}, as it was spoken" for k in range(40)],
        }
        for i in range(1500)
    }
    words = {f"a word {i}": i for i in range(200_000)}
    rows = [(f"v{i}", i * 1.5, i * 1.5 + 2, ["one", "two"]) for i in range(40_000)]
    path = tmp_path / "a.pkl"
    for value in (captions, words, rows):
        for protocol in (0, 2, 4):
            path.write_bytes(pickle.dumps(value, protocol))
            assert read_torch_file(path) == value


def test_what_is_shared_stays_shared(tmp_path):
    array, row, pair = torch_files.tensor(np.ones(3, np.float32)), [1], ("a", [2])
    big = list(range(100))
    value = {"a": [array, row, pair, big], "b": (array, row, pair, big)}
    path = tmp_path / "a.pkl"
    path.write_bytes(torch_files.pickle_bytes(value))
    read = read_torch_file(path)
    for ours, theirs in zip(read["a"], read["b"], strict=True):
        assert ours is theirs
    assert type(read["b"]) is tuple and read["b"][2] == pair


def test_a_clip_that_stands_twice_in_a_list_is_refused(tmp_path):
    clip = {"audio": np.zeros((40, 9), np.float32), "2d": np.ones(4, np.float32)}
    path = tmp_path / "a.pkl"
    path.write_bytes(torch_files.pickle_bytes([dict(clip), clip, clip]))
    with pytest.raises(ValueError, match="clips 1 and 2 are the same"):
        read_clips(str(path), "en", "all")


def test_a_start_beyond_all_numbers_counts_as_none(tmp_path):
    clip = {"audio": np.zeros((40, 9), np.float32), "2d": np.ones(4, np.float32)}
    path = tmp_path / "a.pkl"
    path.write_bytes(torch_files.pickle_bytes([{**clip, "start": 10**400, "end": 1}]))
    record = read_clips(str(path), "en", "all").take(0)
    assert (record.start_s, record.end_s) == (0, 0.09)
