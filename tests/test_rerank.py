"""Reranking by steps, against loops; and the spans that it narrows."""

import numpy as np
import pytest

from avl_tf.retrieval import rerank


def test_scores_are_those_of_two_loops():
    random = np.random.default_rng(0)
    audio = random.standard_normal((7, 5)).astype(np.float32)
    pooled = random.standard_normal(3).astype(np.float32)
    seen = [
        (random.standard_normal((k, 5)).astype(np.float16), np.arange(k) + 2.0)
        for k in (4, 0, 1)
    ]
    spans = [(2.0, 6.0), (0.0, 9.0), (2.0, 5.0)]
    scores, narrowed = rerank.rerank(audio, seen, spans, pooled)
    for index in (0, 2):
        rows = seen[index][0].astype(np.float32)
        dense = np.mean([max(a @ v for v in rows) for a in audio])
        expected = 0.2 * pooled[index] + 0.8 * dense
        assert scores[index] == pytest.approx(expected, rel=1e-5)
    # Nothing is seen in the second: it keeps its score and its span.
    assert scores[1] == pooled[1] and narrowed[1:] == [(0.0, 9.0), (2.0, 5.0)]
    assert rerank.rerank(audio, seen[1:2], spans[1:2], pooled[1:2])[1] == [(0.0, 9.0)]


def test_the_span_is_where_the_best_pictures_are():
    audio = np.eye(6, dtype=np.float32)[[2, 2, 2, 3, 3, 3, 3, 0]]
    steps = np.eye(6, dtype=np.float32), 10.0 + np.arange(6)
    _, spans = rerank.rerank(audio, [steps], [(10.0, 16.0)], np.zeros(1, np.float32))
    assert spans == [(12.0, 14.0)]  # seven of eight
    # The last step ends with its window, and nothing reaches beyond that.
    late = np.eye(6, dtype=np.float32)[[5, 5]]
    _, spans = rerank.rerank(late, [steps], [(10.4, 15.5)], np.zeros(1, np.float32))
    assert spans == [(15.0, 15.5)]
    early = np.eye(6, dtype=np.float32)[[0, 0]]
    _, spans = rerank.rerank(early, [steps], [(10.4, 15.5)], np.zeros(1, np.float32))
    assert spans == [(10.4, 11.0)]


@pytest.mark.parametrize(
    "counts, share, expected",
    [
        ([0, 5, 0], 0.8, (1, 2)),
        ([1, 1, 1, 1], 0.5, (0, 2)),
        ([4, 0, 0, 4], 1.0, (0, 4)),
        ([3], 0.8, (0, 1)),
    ],
)
def test_shortest_run(counts, share, expected):
    assert rerank.shortest_run(np.array(counts), share) == expected
