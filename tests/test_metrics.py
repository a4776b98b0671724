import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from avl_tf import metrics

GOLDEN = np.load(pathlib.Path(__file__).parent / "data" / "metrics.npz")


def _embeddings(similarity):
    """Embeddings whose dot products are the similarity."""
    return np.asarray(similarity, np.float32), np.eye(len(similarity), dtype=np.float32)


def test_metrics_equal_the_authors():
    similarity = GOLDEN["similarity"]
    for direction, matrix in (("a2v", similarity), ("v2a", similarity.T)):
        rank = metrics.ranks(matrix)
        assert metrics.median_rank(rank) == GOLDEN[f"{direction}/MR"]
        for k in metrics.CUTOFFS:
            assert metrics.recall_at_k(rank, k) == GOLDEN[f"{direction}/R{k}"]
            found = metrics.recall_at_k(rank, k, n=1000)
            assert found == pytest.approx(float(GOLDEN[f"msrvtt_{direction}/R{k}"]))


def test_metrics_of_embeddings_are_those_of_their_similarity():
    audio, visual = _embeddings(GOLDEN["similarity"])
    found = metrics.retrieval_metrics(audio, visual, n_queries=1000)
    assert found["n"] == 1000
    for direction in metrics.DIRECTIONS:
        assert found[f"{direction}/MedR"] == GOLDEN[f"{direction}/MR"]
        for k in metrics.CUTOFFS:
            expected = 100 * GOLDEN[f"msrvtt_{direction}/R{k}"]
            assert found[f"{direction}/R@{k}"] == pytest.approx(expected)


def test_ranks_of_a_hand_filled_table():
    # Row 1: the match scores 2, one other is higher, one ties -> rank 3.
    similarity = np.array([[5, 1, 0], [3, 2, 2], [0, 0, 1]])
    assert metrics.ranks(similarity).tolist() == [1, 3, 1]
    assert metrics.ranks(similarity.T).tolist() == [1, 1, 2]
    found = metrics.embedding_ranks(*_embeddings(similarity))
    assert (found["a2v"].tolist(), found["v2a"].tolist()) == ([1, 3, 1], [1, 1, 2])
    assert metrics.ranks(np.zeros((4, 4))).tolist() == [4, 4, 4, 4]


def test_ranks_refuse_what_is_no_similarity_matrix():
    for matrix in (np.zeros((2, 3)), np.zeros(4), np.zeros((0, 0))):
        with pytest.raises(ValueError, match="square similarity"):
            metrics.ranks(matrix)
    similarity = np.eye(4)
    similarity[2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN in 1 of 4 rows.*row 2"):
        metrics.ranks(similarity)


@pytest.mark.parametrize("n", [1, 7, 139, 1000, 1025, 2100])
@pytest.mark.parametrize("width", [8, 255, 1000])
def test_a_collapsed_model_ranks_everything_last(n, width):
    random = np.random.default_rng(n)
    audio, visual = random.normal(size=(2, 1, width)).repeat(n, axis=1)
    found = metrics.embedding_ranks(audio, visual)
    assert (found["a2v"] == n).all() and (found["v2a"] == n).all()


def _are_of(found, similarity):
    for direction, matrix in (("a2v", similarity), ("v2a", similarity.T)):
        match = np.diagonal(matrix)
        expected = [(row >= m).sum() for row, m in zip(matrix, match, strict=True)]
        assert found[direction].tolist() == expected


@pytest.mark.parametrize("n", [1, 511, 512, 513, 1500])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ranks_in_blocks_equal_the_full_matrix(n, dtype):
    random = np.random.default_rng(3)
    audio, visual = random.normal(size=(2, n, 16)).astype(dtype)
    similarity = audio.astype(np.float64) @ visual.T.astype(np.float64)
    _are_of(metrics.embedding_ranks(audio, visual), similarity)


def test_ranks_in_blocks_equal_the_full_matrix_with_many_ties():
    random = np.random.default_rng(4)
    audio, visual = random.integers(-2, 3, size=(2, 1100, 6)).astype(np.float32)
    _are_of(metrics.embedding_ranks(audio, visual), audio @ visual.T)


@pytest.mark.parametrize("width", [7, 256, 999])
def test_the_same_embedding_ties_wherever_it_stands(width):
    random = np.random.default_rng(width)
    audio, visual = random.normal(size=(2, 400, width)).astype(np.float32)
    which_audio, which_visual = random.integers(400, size=(2, 1100))
    # One product of the different ones: what is the same is exactly equal.
    different = audio.astype(np.float64) @ visual.T.astype(np.float64)
    similarity = different[np.ix_(which_audio, which_visual)]
    found = metrics.embedding_ranks(audio[which_audio], visual[which_visual])
    _are_of(found, similarity)
    assert (found["a2v"] > 1).all()


def test_equal_sums_in_another_order_tie():
    random = np.random.default_rng(5)
    audio = random.permuted(np.tile(random.normal(size=300), (600, 1)), axis=1)
    found = metrics.embedding_ranks(audio, np.full((600, 300), 0.1))
    assert (found["a2v"] == 600).all() and (found["v2a"] == 600).all()


def test_scores_that_differ_by_little_do_not_tie():
    scores = 1 + 1e-9 * np.arange(700)
    audio = np.full((700, 1), 1.0)
    found = metrics.embedding_ranks(audio, scores[:, np.newaxis])
    assert found["a2v"].tolist() == list(range(700, 0, -1))


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_ranks_do_not_depend_on_the_order_in_memory(dtype):
    similarity = np.random.default_rng(6).integers(0, 50, (203, 203)).astype(dtype)
    expected = (similarity >= np.diagonal(similarity)[:, np.newaxis]).sum(1)
    larger = np.zeros((406, 609), dtype)
    larger[::2, ::3] = similarity
    for same in (similarity, np.asfortranarray(similarity), larger[::2, ::3]):
        assert (metrics.ranks(same) == expected).all()
    assert (metrics.ranks(similarity[::-1, ::-1]) == expected[::-1]).all()


def test_an_infinite_similarity_is_ranked_and_a_nan_is_found_in_a_transpose():
    similarity = np.array([[0.0, np.inf], [-np.inf, 0.0]])
    assert metrics.ranks(similarity).tolist() == [2, 1]
    similarity[0, 1] = np.nan
    with pytest.raises(ValueError, match="NaN in 1 of 2 rows.*row 1"):
        metrics.ranks(similarity.T)


_PEAK = """
import numpy as np
from avl_tf import metrics
def peak():
    (line,) = [x for x in open("/proc/self/status") if x.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6
random = np.random.default_rng(0)
pair = [random.random((4000, 4096), np.float32) for _ in range(2)]
before = peak()
{call}
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ranks_of_embeddings_need_little_memory_besides_them():
    """About the 170 MB that 10,000 pairs of 4096 leave of 500 MB.

    Mostly it is 105 MB, and now and then, why is not known, 170.
    """

    def grown(call):
        script = _PEAK.format(call=call)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    assert grown("metrics.embedding_ranks(*pair)") < 200
    # It measures: the matrix in double precision is 128 MB, the copies are 262.
    assert grown("pair[0].astype(float) @ pair[1].T.astype(float)") > 300


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_what_is_not_finite_is_an_error_that_names_the_row(value):
    audio, visual = np.ones((2, 5, 3))
    visual[3, 1] = value
    with pytest.raises(ValueError, match="visual embedding 3 of 5"):
        metrics.embedding_ranks(audio, visual)


@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((0, 2), (0, 2)), ((3,), (3,))])
def test_unequal_or_empty_embeddings_are_an_error(shapes):
    with pytest.raises(ValueError, match="same shape"):
        metrics.embedding_ranks(np.ones(shapes[0]), np.ones(shapes[1]))


@pytest.mark.parametrize("n", [0, 2, -1])
def test_fewer_queries_than_ranks_is_an_error(n):
    with pytest.raises(ValueError, match=f"3 ranks for n = {n} queries"):
        metrics.recall_at_k(np.array([1, 2, 3]), 1, n)
    with pytest.raises(ValueError, match="0 ranks"):
        metrics.recall_at_k(np.array([]), 1)


def test_mean_reciprocal_rank_of_a_hand_filled_list():
    assert metrics.mean_reciprocal_rank(np.array([1, 2, 4])) == pytest.approx(1.75 / 3)
    assert metrics.mean_reciprocal_rank(np.array([1, 2]), n=3) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="3 ranks for n = 2"):
        metrics.mean_reciprocal_rank(np.array([1, 2, 3]), 2)


def test_summary_holds_every_metric_of_both_directions():
    ranks = {"a2v": np.array([1, 6, 50, 51]), "v2a": np.array([1, 1, 2, 11])}
    assert metrics.summary(ranks, 5) == {
        "n": 5,
        "a2v/R@1": 20,
        "a2v/R@5": 20,
        "a2v/R@10": 40,
        "a2v/R@50": pytest.approx(60),
        "a2v/MRR": pytest.approx((1 + 1 / 6 + 1 / 50 + 1 / 51) / 5),
        "a2v/MedR": 28,
        "v2a/R@1": 40,
        "v2a/R@5": pytest.approx(60),
        "v2a/R@10": pytest.approx(60),
        "v2a/R@50": 80,
        "v2a/MRR": pytest.approx((2.5 + 1 / 11) / 5),
        "v2a/MedR": 1.5,
    }
    assert ("n", *metrics.KEYS) == tuple(metrics.summary(ranks))
    assert ("n", *metrics.KEYS) == tuple(metrics.chance(4))


def test_a_direction_is_told_whatever_its_languages_are_called():
    branches = ("audio:l1", "audio:l2", "audio:l", "visual")
    titles = [metrics.title(metrics.direction(p)) for p in metrics.pairs(branches)]
    pairs = itertools.permutations(("L1", "L2", "L", "V"), 2)
    assert titles == ["->".join(pair) for pair in pairs]
    assert metrics.title("a2v") == "A->V"


def test_chance_is_the_mean_over_random_rankings():
    random = np.random.default_rng(0)
    n, n_trials = 40, 300
    mean = {key: 0.0 for key in metrics.chance(n)}
    for _ in range(n_trials):
        values = metrics.retrieval_metrics(*random.normal(size=(2, n, 8)))
        mean = {key: mean[key] + values[key] / n_trials for key in mean}
    for key, value in metrics.chance(n).items():
        assert mean[key] == pytest.approx(value, abs=1.2), key


def test_chance_with_missing_queries_counts_them_as_misses():
    found, whole = metrics.chance(968, n_queries=1000), metrics.chance(968)
    assert found["n"] == 1000 and found["a2v/R@10"] == 1.0
    assert found["v2a/MRR"] == pytest.approx(0.968 * whole["v2a/MRR"])
    assert found["a2v/MedR"] == whole["a2v/MedR"] == 484.5
