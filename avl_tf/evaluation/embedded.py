"""An evaluation set as a model embeds it, of which the whole or parts are ranked."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from avl_tf import metrics
from avl_tf.evaluation import map_ranks
from avl_tf.evaluation.rankings import RankedSet


@dataclasses.dataclass(frozen=True)
class EmbeddedSet:
    """The embeddings of an evaluation set.

    embeddings: float32 [N, D] by branch, in the order of clip_ids. clip_s: seconds that
    clips were padded or cut to. population: what recall is divided by, 0 is N.
    similarity: that of ModelConfig; with misa and sima embeddings are maps.
    """

    embeddings: Mapping[str, np.ndarray]
    clip_ids: tuple[str, ...]
    clip_s: float
    population: int = 0
    similarity: str = "dot"

    def ranked(self) -> RankedSet:
        """Ranks all clips at once."""
        return RankedSet(
            clip_ids=self.clip_ids,
            ranks=self._ranks(),
            n_queries=self.population or len(self.clip_ids),
            clip_s=self.clip_s,
        )

    def _ranks(self) -> dict[str, np.ndarray]:
        if self.similarity in ("misa", "sima"):
            return map_ranks.ranks(**self.embeddings, kind=self.similarity)
        return metrics.ranks_of_pairs(self.embeddings, metrics.pairs(self.embeddings))

    def part(self, places: np.ndarray) -> "EmbeddedSet":
        """The clips at places, int [n], as a set of its own: none of it is missing."""
        return EmbeddedSet(
            {name: array[places] for name, array in self.embeddings.items()},
            tuple(self.clip_ids[place] for place in places),
            self.clip_s,
            similarity=self.similarity,
        )
