"""Dimensions and clusters with their labels: what was found, in numbers."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from avl_tf.discovery import clusters, purity
from avl_tf.discovery.clusters import Cluster
from avl_tf.discovery.embedding import MODEL, Excited, Found
from avl_tf.discovery.labels import Timed
from avl_tf.discovery.peaks import Peak
from avl_tf.discovery.purity import Concept, Purity
from avl_tf.exhibits.spans import Span
from avl_tf.records.headers import Header
from avl_tf.settings.discovery import DiscoveryConfig

BEST = (10, 20)
BY_CHANCE = "random inputs"
Means = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the comparison: means of the `best` dimensions, over `n` draws.

    Attributes:
        name: of the dimensions.
        best: how many are counted.
        mean, deviation: audio purity, visual purity, geometric mean.
        n: draws; 1 of the model.
        n_same: of the best, whose labels are the same in both modalities, on average.
    """

    name: str
    best: int
    mean: Means
    deviation: Means
    n: int
    n_same: float


class Discovered:
    """What a model has learnt on a set.

    Attributes:
        found, headers, words, seen: what it is made of.
        labelled: there are words and labels of what is seen.
        concepts: of each dimension, the best first: by purity, or without words and
            labels by agreement.
        agreement: float64 [D], of each dimension; see clusters.agreement.
        rows: the comparison; none without words and labels.
        shares: of all audio inputs, and clips, those that contain the most frequent
            label.
        clusters: of spans, the best first, and the label of each.
    """

    def __init__(
        self,
        found: Found,
        headers: Sequence[Header],
        words: Sequence[Sequence[Span]],
        seen: Sequence[Sequence[Span]],
        config: DiscoveryConfig,
    ):
        """Takes what was embedded, and of each record its words and labels."""
        self.found, self.headers = found, headers
        self.words = [Timed(spans) for spans in words]
        self.seen = [Timed(spans) for spans in seen]
        self._half_s = config.window_s / 2
        self.labelled = any(map(len, words)) and any(map(len, seen))
        self._said = [self.said(i) for i in range(len(found.step_clips))]
        self._shown = [
            self.seen[record].within(start_s, end_s)
            for record, start_s, end_s in found.clips
        ]
        self.shares = _share(self._said), _share(self._shown)
        (model,) = found.excited[MODEL]
        self.agreement = self._agreement(model)
        ranked = self._rank(model)
        if not self.labelled:
            ranked.sort(key=lambda c: (-self.agreement[c.dimension], c.dimension))
        self.concepts = ranked
        self.rows = self._compared(config) if self.labelled else []
        self.clusters = self._clustered(config)

    def peaks(self, dimension: int) -> tuple[list[Peak], list[Peak]]:
        """The inputs that excite a dimension of the model, audio and visual."""
        (model,) = self.found.excited[MODEL]
        return model.audio[dimension], model.visual[dimension]

    def said(self, step: int) -> list[str]:
        """The words around an audio step."""
        record, _ = self.place(step)
        at_s = self.found.step_at_s[step]
        return self.words[record].within(at_s - self._half_s, at_s + self._half_s)

    def shown(self, clip: int) -> list[str]:
        """The labels of what is seen in a clip."""
        return self._shown[clip]

    def place(self, step: int) -> tuple[int, float]:
        """The record of an audio step, and its middle in seconds of the media."""
        record, _, _ = self.found.clips[self.found.step_clips[step]]
        return record, self.headers[record].start_s + self.found.step_at_s[step]

    def span(self, peak: Peak) -> tuple[int, float, float]:
        """The record of an audio peak, and the span that is excited, in its media."""
        record, at_s = self.place(peak.input)
        step_s = self.found.step_s
        start_s = at_s - (peak.before + 0.5) * step_s
        return record, max(0.0, start_s), at_s + (peak.behind + 0.5) * step_s

    def spans_of(self, cluster: Cluster) -> list[Peak]:
        """The spans of a cluster, the nearest to its middle first."""
        found = self.found
        return [
            Peak(0.0, found.places[member], *found.place_extents[member])
            for member in cluster.members
        ]

    def _rank(self, excited: Excited) -> list[Concept]:
        said = [[self._said[p.input] for p in peaks] for peaks in excited.audio]
        shown = [[self._shown[p.input] for p in peaks] for peaks in excited.visual]
        return purity.rank(said, shown)

    def _agreement(self, excited: Excited) -> np.ndarray:
        clips = self.found.step_clips
        heard = [[clips[p.input] for p in peaks] for peaks in excited.audio]
        seen = [[p.input for p in peaks] for peaks in excited.visual]
        return (
            clusters.agreement(heard, self.found.visual)
            + clusters.agreement(seen, self.found.heard)
        ) / 2

    def _compared(self, config: DiscoveryConfig) -> list[Row]:
        draws = {
            name: [self._rank(one) for one in each]
            for name, each in self.found.excited.items()
        }
        draws[MODEL] = [self.concepts]
        draws[BY_CHANCE] = [
            self._by_chance(config.k, config.seed + draw)
            for draw in range(config.n_random)
        ]
        counts = dict.fromkeys(min(n, len(self.concepts)) for n in BEST)
        return [
            _row(name, ranked, n)
            for name, n in itertools.product(draws, counts)
            if (ranked := draws[name])
        ]

    def _by_chance(self, k: int, seed: int) -> list[Concept]:
        """Dimensions of as many inputs, drawn at random."""
        random = np.random.default_rng(seed)

        def drawn(labels: list[list[str]]) -> list[list[list[str]]]:
            n = min(k, len(labels))
            return [
                [labels[i] for i in random.choice(len(labels), n, replace=False)]
                for _ in self.concepts
            ]

        return purity.rank(drawn(self._said), drawn(self._shown))

    def _clustered(self, config: DiscoveryConfig) -> list[tuple[Cluster, Purity]]:
        embeddings = self.found.place_embeddings
        found = clusters.of_spans(embeddings, config.n_clusters, config.seed)
        return [
            (c, self._purity(self.found.places[i] for i in c.members)) for c in found
        ]

    def _purity(self, steps) -> Purity:
        return purity.of_inputs([self._said[step] for step in steps])

    def cluster_purity(self, n: int, seed: int) -> tuple[float, float]:
        """Mean purity of the n best clusters, and of as many random spans each."""
        random = np.random.default_rng(seed)
        best = self.clusters[:n]
        places = self.found.places
        drawn = [
            self._purity(random.choice(places, label.n, replace=False)).purity
            for _, label in best
        ]
        own = [label.purity for _, label in best]
        return float(np.mean(own)), float(np.mean(drawn))


def _row(name: str, draws: list[list[Concept]], n: int) -> Row:
    values = np.array([purity.means(ranked, n) for ranked in draws])
    same = [
        sum(c.audio.label == c.visual.label != "" for c in ranked[:n])
        for ranked in draws
    ]

    def each(statistic: Callable) -> Means:
        audio, visual, geometric = statistic(values, axis=0).tolist()
        return audio, visual, geometric

    return Row(name, n, each(np.mean), each(np.std), len(draws), float(np.mean(same)))


def _share(labels: list[list[str]]) -> tuple[str, float]:
    """The most frequent label, and the share of the inputs that contain it."""
    counts = collections.Counter(label for each in labels for label in each)
    if not counts:
        return "", 0.0
    label, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return label, count / len(labels)
