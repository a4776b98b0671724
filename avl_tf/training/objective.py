"""What a stage minimises: a batch's embeddings in, named loss terms out.

A new loss is a function of avl_tf.losses and a term here; the training step knows none
of them.
"""

from collections.abc import Collection, Mapping, Sequence

import tensorflow as tf

from avl_tf import losses
from avl_tf.losses import logistic, ranking, similarity, softmax
from avl_tf.model import matchmaps
from avl_tf.settings import terms
from avl_tf.settings.stage import StageConfig
from avl_tf.training.caption_queue import CaptionQueue
from avl_tf.training.learnt_affine import LearntAffine


class Objective:
    """The loss terms of a stage; their sum is its loss.

    It holds no variables: a checkpoint is of TrainState, where one that is learnt or
    remembered belongs.

    Source: of the terms by nearest neighbours, Ryu et al. 2023 (Hindi as a Second
        Language) Eq. 3 to 6.
    """

    def __init__(
        self,
        stage: StageConfig,
        branches: Sequence[str],
        trainable_branches: Collection[str],
        queue: CaptionQueue | None = None,
        kind: str = "dot",
        affine: LearntAffine | None = None,
    ):
        """Settles the terms.

        Args:
            stage: the settings of the losses.
            branches: of the model, in order.
            trainable_branches: those that learn.
            queue: of earlier captions, if stage.nn_queue; read here, written by the
                step.
            kind: the similarity of the model, as ModelConfig.similarity.
            affine: of the terms of bce.

        Raises:
            UserError: as terms.plan.
        """
        self._stage = stage = stage.with_loss_settings()
        self._margin = stage.margin or 0.0
        self._terms = terms.plan(stage, branches, trainable_branches)
        self._queue, self._kind, self._affine = queue, kind, affine

    def __call__(
        self,
        embeddings: Mapping[str, tf.Tensor],
        step: tf.Tensor,
        groups: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Computes the terms over a global batch.

        Args:
            embeddings: float [G, D], or maps, by branch; rows i of all belong together.
                Of sound with K candidates a clip [G * K, D], one clip after the other.
            step: int64 scalar, 0 for the first.
            groups: int64 [G], the same for clips of one image or recording, if
                stage.needs_groups.

        Returns:
            Scalars, weights included, by the branches they bring together, as in
            "audio-visual", "nn:es>ro" and "distill:es>ro".
        """
        stage, found = self._stage, {}
        for place, pair in enumerate(self._terms.pairs):
            if stage.loss == "mil_nce":
                found[pair.name] = pair.weight * self._mil_nce(embeddings)
                continue
            matrix = self._similarities(pair, embeddings)
            found[pair.name] = pair.weight * self._loss(matrix, step, groups, place)
        for one in self._terms.neighbors:
            of_nearest = self._by_neighbors(one.guide, one.learner, embeddings)
            found[f"nn:{one.name}"] = stage.nn_weight * of_nearest
        for one in self._terms.distilled:
            found[f"distill:{one.name}"] = stage.distill_weight * losses.distillation(
                embeddings[one.guide],
                embeddings[one.learner],
                embeddings["visual"],
                stage.distill_temperature,
            )
        return found

    def _similarities(
        self, pair: terms.Pair, embeddings: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Of the clips of a pair of branches [G, G], rows the first branch."""
        both = embeddings[pair.first], embeddings[pair.second]
        if both[0].shape.rank == 2:
            return similarity.of_pairs(*both)[0]
        if pair.first == "visual":
            return tf.transpose(matchmaps.of_embeddings(*both[::-1], self._kind))
        return matchmaps.of_embeddings(*both, self._kind)

    def _loss(
        self,
        found: tf.Tensor,
        step: tf.Tensor,
        groups: tf.Tensor | None,
        place: int,
    ) -> tf.Tensor:
        """The stage's loss of a pair of branches, the place-th of its terms.

        found: their similarities [G, G], rows the first branch.
        """
        stage, margin = self._stage, self._margin
        if stage.loss == "mms_adaptive":
            return softmax.mms_adaptive(found)
        if stage.loss == "mms_scheduled":
            return softmax.mms_scheduled(found, step, margin)
        if stage.loss == "mms_masked":
            return softmax.mms_masked(found, groups, margin)
        if stage.loss == "infonce":
            return softmax.infonce(found, stage.temperature, stage.loss_directions)
        if stage.loss == "triplet":
            seed = self._seed(step, place)
            return ranking.triplet(found, stage.triplet_imposters, margin, seed)
        if stage.loss == "max_margin":
            rate = stage.hard_negative_rate
            return ranking.max_margin(found, margin, groups, rate)
        if stage.loss == "bce":
            if self._affine is None or stage.bce_negatives is None:
                raise ValueError("--loss=bce needs what it learns.")
            both, seed = self._affine.of_term(place), self._seed(step, place)
            return logistic.bce(found, *both, stage.bce_negatives, seed)
        return softmax.mms(found, margin)

    def _seed(self, step: tf.Tensor, place: int) -> tf.Tensor:
        """Of the place-th term: from the step alone, so that a resumed run draws so."""
        draw = tf.stack([tf.constant(self._stage.seed, tf.int64), step])
        return tf.random.experimental.stateless_fold_in(draw, place)

    def _mil_nce(self, embeddings: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Of each video and its candidates, whichever branch a term names first."""
        visual = embeddings["visual"]
        (heard,) = (value for name, value in embeddings.items() if name != "visual")
        by_clip = [-1, self._stage.n_candidates, tf.shape(visual)[-1]]
        twice = self._stage.mil_nce_positives == "twice"
        return losses.mil_nce(visual, tf.reshape(heard, by_clip), twice)

    def _by_neighbors(
        self, guide: str, learner: str, embeddings: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Of captions to those of the guide's nearest in the queue; 0 if left out."""
        queue = self._queue
        if queue is None:
            raise ValueError("--nn_queue needs the queue.")
        nearest = queue.neighbors(guide, learner, embeddings[guide])
        own = embeddings[learner]
        found = losses.infonce(nearest, own, self._stage.temperature, directions="one")
        counts = queue.full if self._stage.nn_until_full else queue.count > 0
        return tf.where(counts, found, tf.zeros_like(found))
