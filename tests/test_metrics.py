import pathlib

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


def test_ranks_in_chunks_equal_the_full_matrix():
    random = np.random.default_rng(3)
    audio, visual = random.normal(size=(2, 1500, 16)).astype(np.float32)
    similarity = audio.astype(np.float64) @ visual.T
    match = np.diagonal(similarity)
    found = metrics.embedding_ranks(audio, visual)
    assert (found["a2v"] == (similarity >= match[:, np.newaxis]).sum(1)).all()
    assert (found["v2a"] == (similarity >= match).sum(0)).all()


def test_nan_is_an_error_that_names_the_row():
    audio, visual = np.ones((2, 5, 3), np.float32)
    visual[3, 1] = np.nan
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


def test_chance_is_the_mean_over_random_rankings():
    random = np.random.default_rng(0)
    n, n_trials = 40, 300
    mean = {key: 0.0 for key in metrics.chance(n)}
    for _ in range(n_trials):
        values = metrics.retrieval_metrics(*random.normal(size=(2, n, 8)))
        mean = {key: mean[key] + values[key] / n_trials for key in mean}
    for key, value in metrics.chance(n).items():
        assert mean[key] == pytest.approx(value, abs=1.2), key
