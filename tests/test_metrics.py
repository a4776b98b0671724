import pathlib

import numpy as np
import pytest

from avl_tf import metrics

GOLDEN = np.load(pathlib.Path(__file__).parent / "data" / "metrics.npz")


def _embeddings(similarity):
    """Embeddings whose dot products are the similarity."""
    return np.asarray(similarity, np.float32), np.eye(len(similarity), dtype=np.float32)


def test_metrics_equal_the_authors():
    audio, visual = _embeddings(GOLDEN["similarity"])
    found = metrics.retrieval_metrics(audio, visual)
    for direction in metrics.DIRECTIONS:
        for k in metrics.CUTOFFS:
            expected = 100 * GOLDEN[f"{direction}/R{k}"]
            assert found[f"{direction}/R@{k}"] == pytest.approx(expected)
        assert found[f"{direction}/MedR"] == GOLDEN[f"{direction}/MR"]


def test_metrics_with_missing_clips_equal_the_authors():
    audio, visual = _embeddings(GOLDEN["similarity"])
    found = metrics.retrieval_metrics(audio, visual, n_queries=1000)
    for k in metrics.CUTOFFS:
        assert found[f"a2v/R@{k}"] == pytest.approx(100 * GOLDEN[f"msrvtt_a2v/R{k}"])
    assert found["n"] == 1000


def test_ranks_of_a_hand_filled_table():
    # Row 1: the match scores 2, one other is higher, one ties -> rank 3.
    audio, visual = _embeddings([[5, 1, 0], [3, 2, 2], [0, 0, 1]])
    found = metrics.ranks(audio, visual)
    assert found["a2v"].tolist() == [1, 3, 1]
    assert found["v2a"].tolist() == [1, 1, 2]


@pytest.mark.parametrize("n", [1, 7, 139, 1000, 1025, 2100])
@pytest.mark.parametrize("width", [8, 255, 1000])
def test_a_collapsed_model_ranks_everything_last(n, width):
    random = np.random.default_rng(n)
    audio, visual = random.normal(size=(2, 1, width)).repeat(n, axis=1)
    found = metrics.ranks(audio, visual)
    assert (found["a2v"] == n).all() and (found["v2a"] == n).all()


def test_ranks_in_chunks_equal_the_full_matrix():
    random = np.random.default_rng(3)
    audio, visual = random.normal(size=(2, 1500, 16)).astype(np.float32)
    similarity = audio.astype(np.float64) @ visual.T
    match = np.diagonal(similarity)
    found = metrics.ranks(audio, visual)
    assert (found["a2v"] == (similarity >= match[:, np.newaxis]).sum(1)).all()
    assert (found["v2a"] == (similarity >= match).sum(0)).all()


def test_nan_is_an_error_that_names_the_row():
    audio, visual = np.ones((2, 5, 3), np.float32)
    visual[3, 1] = np.nan
    with pytest.raises(ValueError, match="visual embedding 3 of 5"):
        metrics.ranks(audio, visual)


@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((0, 2), (0, 2)), ((3,), (3,))])
def test_unequal_or_empty_embeddings_are_an_error(shapes):
    with pytest.raises(ValueError, match="same shape"):
        metrics.ranks(np.ones(shapes[0]), np.ones(shapes[1]))


def test_fewer_queries_than_ranks_is_an_error():
    with pytest.raises(ValueError, match="n_queries is 2"):
        metrics.summarize(np.array([1, 2, 3]), n_queries=2)


def test_chance_is_the_mean_over_random_rankings():
    random = np.random.default_rng(0)
    n, n_trials = 40, 300
    mean = {key: 0.0 for key in metrics.chance(n)}
    for _ in range(n_trials):
        values = metrics.retrieval_metrics(*random.normal(size=(2, n, 8)))
        mean = {key: mean[key] + values[key] / n_trials for key in mean}
    for key, value in metrics.chance(n).items():
        assert mean[key] == pytest.approx(value, abs=1.2), key
