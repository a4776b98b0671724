"""Hostile and damaged files: nothing runs, nothing grows, one family of errors."""

import copyreg
import functools
import os
import pathlib
import pickle
import random
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_files
from hostile_pickles import BOMBS, LOTS, MB, UNSAFE, call, overlapping_zip, text, zip_of

from avl_tf.torch_weights import TorchFileError, UnsafePickleError, read_torch_file

_DATA = pathlib.Path(__file__).parent / "data"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads bytes as a file; fails the test if anything of it was run."""
    fired = []
    monkeypatch.setattr(os, "system", fired.append)
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **_: fired.append(args))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pth"

    def read_bytes(data):
        path.write_bytes(data)
        try:
            return read_torch_file(path)
        finally:
            assert not fired and os.listdir(tmp_path) == ["file.pth"]

    return read_bytes


def _peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("start", [b"\x80\2", b"\x80\4", b""])
def test_anything_but_data_is_refused_by_name(read, name, start):
    stream, message = UNSAFE[name]
    with pytest.raises(UnsafePickleError, match=f"file.pth: .*{message}"):
        read(start + stream + b".")


@pytest.mark.parametrize("name", ["os.system", "eval", "extension 1", "new ndarray"])
def test_every_pickle_of_a_torch_file_is_checked(read, name):
    hostile = UNSAFE[name][0] + b"."
    magic, version, machine, value, keys = (
        pickle.dumps(part, 2)
        for part in (torch_files.LEGACY_MAGIC, 1001, {"little_endian": True}, None, [])
    )
    assert read(magic + version + machine + value + keys) is None
    for data in (
        magic + hostile,
        magic + version + hostile,
        magic + version + machine + hostile,
        magic + version + machine + value + hostile,
        zip_of({"archive/data.pkl": hostile}),
    ):
        with pytest.raises(UnsafePickleError):
            read(data)


@pytest.mark.parametrize(
    "identity",
    [
        b"N",
        b"K\1",
        text("0"),
        b"(" + text("module") + b"ctorch\nSize\n" + text("a.py") + text("1") + b"Nt",
        b"(" + text("storage") + b"ctorch\nSize\n" + text("0") + text("cpu") + b"K\1t",
        b"(" + text("storage") + text("torch.FloatStorage") + text("0") + b"NK\1t",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + b"]NK\1t",
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + b"NK\1K\1t",
    ],
)
def test_persistent_id_that_is_no_storage_is_refused(read, identity):
    with pytest.raises(UnsafePickleError, match="persistent id|storage is"):
        read(zip_of({"archive/data.pkl": identity + b"Q."}))


def test_registered_extension_is_not_called(read):
    copyreg.add_extension("os", "system", 200)
    try:
        pickle.loads(b"\x80\2\x82\xc8.")  # into the cache that unpicklers look into
        with pytest.raises(UnsafePickleError, match="EXT1"):
            read(b"\x80\2\x82\xc8" + text("true") + b"\x85R.")
    finally:
        copyreg.remove_extension("os", "system", 200)


def test_named_module_is_not_imported(read):
    before = set(sys.modules)
    with pytest.raises(UnsafePickleError, match="names antigravity.fly"):
        read(b"\x80\2cantigravity\nfly\n.")
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_in_bounded_memory(read, name):
    data, message = BOMBS[name]

    def refused():
        with pytest.raises((TorchFileError, UnsafePickleError), match=message):
            read(data)

    # A pickle has values of one byte, and Python's smallest containers take 64.
    assert _peak_memory(refused) < 6 * MB + 100 * min(len(data), MB // 2)


@pytest.mark.parametrize("kind", ["deflated", "overlapping"])
def test_zip_bomb_is_refused_in_bounded_memory(read, kind):
    if kind == "overlapping":
        data = overlapping_zip()
        # Newer versions of zipfile notice by themselves.
        message = "4 times the file's size|Overlapped"
    else:
        tensor = torch_files.tensor(np.zeros(32 * MB, np.uint8))
        data = torch_files.zip_bytes(tensor, compression=zipfile.ZIP_DEFLATED)
        message = "compressed"
    assert len(data) < 1.1 * MB

    def refused():
        with pytest.raises(TorchFileError, match=message):
            read(data)

    assert _peak_memory(refused) < 4 * len(data) + 3 * MB


@functools.cache
def _whole_files():
    """Returns name -> (bytes to damage, what makes a file of them)."""
    small = {
        "w": torch_files.tensor(np.arange(6.0).reshape(2, 3).T),
        "half": torch_files.tensor(np.ones(4, np.float16)),
        "array": np.arange(3),
        "text": ["a", "b" * 300, None, 2.5, (True, {1: 2})],
    }
    files = {
        "legacy": (torch_files.legacy_bytes(small), bytes),
        "zip": (torch_files.zip_bytes(small), bytes),
        "pickle 0": (torch_files.pickle_bytes(small, 0), bytes),
        "pickle 5": (torch_files.pickle_bytes(small, 5), bytes),
    }
    for name in ("tiny_avlnet.pth", "tiny_avlnet_legacy.pth", "tiny_youcook.pkl"):
        files[name] = (_DATA / name).read_bytes(), bytes
    # A zip archive's checksums catch all damage but the attacker's own.
    with zipfile.ZipFile(_DATA / "tiny_avlnet.pth") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (place,) = (name for name in entries if name.endswith("/data.pkl"))
    files["data.pkl"] = entries[place], lambda data: zip_of(entries | {place: data})
    return files


_PARTS = [
    *(stream for stream, _ in UNSAFE.values()),
    *(bytes([code]) for code in range(256)),
    call("os.system", text("touch pwned")),
    b"h\0h\1h\2R",
    b"\x8b" + LOTS,
    b"X" + LOTS,
    b"r\xff\xff\xff\xff",
]


def _damaged(data, rng):
    """Cuts data short, flips bytes of it, or puts instructions into it."""
    # Half of the damage near the front, where the pickles are.
    place = rng.randrange(rng.choice([len(data), min(len(data), 20_000)]))
    kind = rng.randrange(5)
    if kind == 0:
        return data[:place]
    if kind < 3:
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 4])):
            changed[(place + rng.randrange(64)) % len(data)] = rng.randrange(256)
        return bytes(changed)
    return data[:place] + rng.choice(_PARTS) + data[place + rng.choice([0, 0, 1, 5]) :]


def _check_plain(value, depth=0):
    assert depth < 200
    if type(value) is dict:
        value = [*value, *value.values()]
    if type(value) in (list, tuple):
        for item in value:
            _check_plain(item, depth + 1)
    else:
        kinds = (np.ndarray, str, bytes, int, float, complex, bool, type(None))
        assert type(value) in kinds


@pytest.mark.parametrize("name", list(_whole_files()))
def test_damaged_file_is_plain_data_or_an_error(read, name):
    data, make_file = _whole_files()[name]
    rng = random.Random(f"seed of {name}")
    errors = set()
    for _ in range(500 if len(data) < 10_000 else 150):
        try:
            _check_plain(read(make_file(_damaged(data, rng))))
        except (TorchFileError, UnsafePickleError) as error:
            assert "file.pth: " in str(error)
            errors.add(type(error))
    assert TorchFileError in errors
    if name not in ("zip", "tiny_avlnet.pth"):
        assert UnsafePickleError in errors


@pytest.mark.parametrize("name", list(_whole_files()))
def test_file_cut_anywhere_is_refused(read, name):
    data, make_file = _whole_files()[name]
    for end in range(0, len(data), max(1, len(data) // 100)):
        with pytest.raises((TorchFileError, UnsafePickleError)):
            read(make_file(data[:end]))


def test_damaged_file_takes_no_memory(read):
    rng = random.Random(5)

    def read_damaged(data):
        try:
            read(data)
        except (TorchFileError, UnsafePickleError):
            pass

    for name in ("legacy", "zip", "pickle 0", "pickle 5"):
        data, _ = _whole_files()[name]
        for _ in range(50):
            damaged = _damaged(data, rng)
            assert _peak_memory(functools.partial(read_damaged, damaged)) < MB
