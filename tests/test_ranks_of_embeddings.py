"""embedding_ranks decides as double precision does, and mostly by single."""

import sys

import numpy as np
import pytest

from avl_tf import metrics
from avl_tf.metrics import of_embeddings, single_products

N = 600  # more than a block of either kind


@pytest.fixture(params=["NumPy", "TensorFlow"], autouse=True)
def library(request, monkeypatch):
    """Small blocks, so that there are several, multiplied by each library."""
    monkeypatch.setattr(of_embeddings, "_PRODUCT_ROWS", 512)
    monkeypatch.setattr(of_embeddings, "_ROWS", 256)
    if request.param == "TensorFlow":
        tf = pytest.importorskip("tensorflow")
        monkeypatch.setitem(sys.modules, "tensorflow", tf)
    else:
        monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    assert single_products.has_tensorflow() == (request.param == "TensorFlow")
    return request.param


def _in_double(audio, visual):
    """The rule on the whole matrix: a rank counts what is not below the match's sum."""
    audio, visual = np.asarray(audio, float), np.asarray(visual, float)
    similarity = audio @ visual.T
    match = np.einsum("ij,ij->i", audio, visual)
    np.fill_diagonal(similarity, match)
    norms = [np.linalg.norm(side, axis=1) for side in (audio, visual)]
    epsilon = (audio.shape[1] + 2) * 2.0**-52
    lowest = match - epsilon * norms[0] * norms[1].max()
    a2v = (similarity >= lowest[:, np.newaxis]).sum(1)
    lowest = match - epsilon * norms[1] * norms[0].max()
    return {"a2v": a2v.tolist(), "v2a": (similarity >= lowest).sum(0).tolist()}


def _ranks(audio, visual):
    found = metrics.embedding_ranks(audio, visual)
    return {name: rank.tolist() for name, rank in found.items()}


def _random(width, seed=0):
    pair = np.random.default_rng(seed).normal(size=(2, N, width))
    return pair.astype(np.float32)


@pytest.mark.parametrize("width", [2, 9, 511, 513, 1100])
def test_similarities_a_step_of_single_precision_apart_are_told_apart(width):
    random = np.random.default_rng(width)
    # Whole numbers, whose sums are exact in double precision and not in single.
    audio, visual = 2**14 + np.tile(random.integers(5, size=(2, 1, width)), (1, N, 1))
    visual[np.arange(N), random.integers(width, size=N)] += random.integers(-1, 2, N)
    audio[np.arange(N), random.integers(width, size=N)] += random.integers(-1, 2, N)
    similarity = audio @ visual.T
    match = np.diagonal(similarity)
    assert _ranks(audio.astype(np.float32), visual.astype(np.float32)) == {
        "a2v": (similarity >= match[:, np.newaxis]).sum(1).tolist(),
        "v2a": (similarity >= match).sum(0).tolist(),
    }
    assert len(np.unique(similarity)) > len(np.unique(similarity.astype(np.float32)))


@pytest.mark.parametrize("width", [1, 700])
@pytest.mark.parametrize("step", [2.0**-24, 1e-9])
def test_embeddings_a_step_apart_are_told_apart(width, step):
    random = np.random.default_rng(width)
    audio, visual = np.tile(random.normal(size=(2, 1, width)), (1, N, 1))
    number = random.integers(width, size=N)
    visual[np.arange(N), number] *= 1 + step * random.integers(-1, 2, N)
    assert _ranks(audio, visual) == _in_double(audio, visual)


@pytest.mark.parametrize("width", [9, 513, 2000])
def test_twins_among_others_tie_and_sums_in_another_order_too(width):
    audio, visual = _random(width)
    which_audio, which_visual = np.random.default_rng(1).integers(40, size=(2, N))
    audio, visual = audio[which_audio], visual[which_visual]
    different = which_audio * N + which_visual
    found = metrics.embedding_ranks(audio, visual)
    # Clips that are the same on both sides have the same ranks, wherever they stand.
    for one in np.unique(different):
        for rank in found.values():
            assert len(set(rank[different == one])) == 1
    shuffled = np.random.default_rng(2).permuted(np.tile(audio[:1], (N, 1)), axis=1)
    assert _ranks(shuffled, np.ones_like(shuffled))["a2v"] == [N] * N


@pytest.mark.parametrize("width", [8, 600])
@pytest.mark.parametrize(
    "scales",
    [(1e20, 1e15), (1e-30, 1e-30), (1e-40, 1), (1e-42, 1e-42), (1e30, 1e-38), (0, 1)],
)
def test_the_scale_of_single_precision_does_not_matter(width, scales):
    audio, visual = (
        (side * np.float64(scale)).astype(np.float32)
        for side, scale in zip(_random(width), scales, strict=True)
    )
    assert _ranks(audio, visual) == _in_double(audio, visual)


@pytest.mark.parametrize("scales", [(1e150, 1e150), (1e-200, 1e150), (1e-320, 1)])
def test_the_scale_of_double_precision_does_not_matter(scales):
    audio, visual = (
        side.astype(float) * scale
        for side, scale in zip(_random(30), scales, strict=True)
    )
    assert _ranks(audio, visual) == _in_double(audio, visual)


@pytest.mark.parametrize("spread", [3, 18])
def test_small_embeddings_beside_large_ones_are_not_lost(spread):
    random = np.random.default_rng(0)
    audio, visual = _random(40)
    scale = 10.0 ** random.integers(-spread, spread + 1, (2, N, 1))
    audio, visual = (audio * scale[0]).astype("f"), (visual * scale[1]).astype("f")
    assert _ranks(audio, visual) == _in_double(audio, visual)


def test_what_single_precision_rounds_to_few_bits_is_told_apart():
    audio, visual = _random(40)
    audio = audio.astype(float)
    audio[:-1] *= 1e-42  # The last keeps the side from being scaled.
    assert _ranks(audio, visual) == _in_double(audio, visual)


def test_norms_whose_squares_double_precision_loses_are_not_trusted():
    audio, visual = np.ones((2, N, 40))  # and powers of two: all sums are exact
    audio[1:] *= 2.0**-542
    visual[:, 0] += 2.0**-10 * np.random.default_rng(0).integers(5, size=N)
    small = 2.0**-512
    assert _ranks(audio * small, visual) == _in_double(audio * small, visual)
    audio[1:] /= small
    assert _ranks(audio * small, visual) == _in_double(audio * small, visual)


def test_a_match_reaches_itself_where_double_precision_loses_the_norms():
    audio, visual = _random(30)
    audio, visual = audio * 1e-200, visual.astype(float) * 1e150
    best = np.eye(N, 30) * 1e-200, np.eye(N, 30) * 1e150 / 3
    for one, other in ((audio, visual), best):
        found = metrics.embedding_ranks(one, other)
        assert min(found["a2v"].min(), found["v2a"].min()) >= 1


def test_one_hot_and_zero_embeddings_rank_as_in_double_precision():
    one_hot, zeros = np.eye(N, dtype=np.float32), np.zeros((N, N), np.float32)
    assert _ranks(one_hot, one_hot)["a2v"] == [1] * N
    assert _ranks(one_hot, zeros)["v2a"] == [N] * N
    audio, visual = _random(N)
    audio[::3] = 0
    assert _ranks(audio, visual) == _in_double(audio, visual)
    assert _ranks(one_hot, visual) == _in_double(one_hot, visual)


def test_how_the_embeddings_lie_in_memory_does_not_matter():
    audio, visual = _random(600)
    apart = np.zeros((2 * N, 1200), np.float32)
    apart[::2, ::2] = visual
    found = _ranks(np.asfortranarray(audio), apart[::2, ::2])
    assert found == _ranks(audio, visual) == _in_double(audio, visual)


@pytest.fixture
def n_again(monkeypatch):
    """How many embeddings of either side are taken in double precision again."""
    seen = []
    double = of_embeddings._Side.double

    def counted(side, rows, some):
        seen.append(len(some))
        return double(side, rows, some)

    monkeypatch.setattr(of_embeddings._Side, "double", counted)
    return lambda: sum(seen)


def test_few_similarities_are_taken_again_in_double_precision(n_again):
    audio, visual = _random(600)
    metrics.embedding_ranks(audio, visual + audio / 8)
    assert 0 < n_again() < 0.01 * N**2


def test_those_of_a_collapsed_model_are_taken_again_once(n_again):
    metrics.embedding_ranks(*np.ones((2, N, 30), np.float32))
    # Each row for 3 blocks of columns, each column for 3 of rows (256, 144, 200).
    assert n_again() == 2 * 3 * N


@pytest.mark.parametrize("n_bits", [8, 11])  # bfloat16, TF32
def test_a_tensorflow_that_rounds_to_fewer_bits_is_not_used(
    library, n_bits, monkeypatch
):
    if library == "NumPy":
        pytest.skip("It has no such setting.")
    tf = sys.modules["tensorflow"]
    matmul = tf.matmul

    def rounded(tensor):
        mantissa, exponent = np.frexp(tensor.numpy())
        return np.ldexp(np.round(mantissa * 2**n_bits) / 2**n_bits, exponent)

    def short(one, other, **options):
        return matmul(rounded(one), rounded(other), **options)

    monkeypatch.setattr(tf, "matmul", short)
    assert not single_products.has_tensorflow()
    audio, visual = _random(40)
    assert _ranks(audio, visual) == _in_double(audio, visual)
