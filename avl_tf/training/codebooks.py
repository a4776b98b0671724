"""The codebooks of a model that learns: their losses, and new codes after each step."""

from collections.abc import Collection, Mapping, Sequence

import keras
import tensorflow as tf

from avl_tf.model import branch, by_branch, quantizer
from avl_tf.model.quantizer import TemporalJitter, VectorQuantizer
from avl_tf.settings.stage import StageConfig


class Codebooks:
    """Those of a model from build_model; none, of most.

    A clip's loss [B, 2] goes the way of its embeddings, so that the mean is over the
    valid frames of the global batch. Counts and sums go the way of the statistics of
    batch norm, of which replicas and micro-batches have the mean.

    Attributes:
        layers: by what they are called, vq:quant3, or vq:es/quant3 of a language's own.
    """

    def __init__(
        self,
        model: keras.Model,
        frozen: Collection[str],
        stage: StageConfig,
        step: tf.Variable,
        n_replicas: int,
    ):
        """Finds the layers that learn, and ties them to the stage's steps.

        Args:
            model: that learns.
            frozen: branches that do not.
            stage: its settings.
            step: int64, the number of steps taken.
            n_replicas: that a batch is dealt to.
        """
        self._of: dict[VectorQuantizer, list[str]] = {}
        share = stage.batch_size // n_replicas
        n_shares = n_replicas * (share // (stage.micro_batch or share))
        for name in by_branch(model.output):
            if name == "visual" or name in frozen:
                continue
            for layer in branch(model, name).layers:
                if isinstance(layer, VectorQuantizer):
                    layer.n_shares = n_shares
                    self._of.setdefault(layer, []).append(name.partition(":")[2])
                elif isinstance(layer, TemporalJitter):
                    layer.seed = _seed(stage.seed, step, layer.name)
        self.layers = {_name(one, of): one for one, of in self._of.items()}

    def rows(self, found: Mapping[VectorQuantizer, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What quantizer.gathered found [B, 2], by name."""
        return {name: found[layer] for name, layer in self.layers.items()}

    @property
    def shapes(self) -> dict[str, tuple[int]]:
        """The shape of a clip's row, by name."""
        return dict.fromkeys(self.layers, (2,))

    def terms(self, rows: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The terms of the loss, of the rows [G, 2] of a global batch."""
        return {name: quantizer.quantization_loss(rows[name]) for name in self.layers}

    def settle(
        self, statistics: Sequence[tf.Variable], new: Sequence[tf.Tensor]
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        """Makes the codes of the next step.

        Args:
            statistics: variables that the step writes.
            new: their values after it, the means over replicas and micro-batches.

        Returns:
            The values with codes and smoothed counts; and of the batch, by
            perplexity/quant3 and so on, how many codes are in use.
        """
        values, measured = list(new), {}
        places = {id(variable): place for place, variable in enumerate(statistics)}
        for name, layer in self.layers.items():
            held = (layer.embedding, layer.ema_w, layer.ema_cluster_size)
            codes, sums, sizes = (places[id(one.value)] for one in held)
            before = tf.convert_to_tensor(statistics[sizes])
            counts = tf.nn.relu(values[sizes] - layer.decay * before)
            measured[name.replace("vq:", "perplexity/")] = quantizer.perplexity(counts)
            values[codes], values[sizes] = layer.settled(values[sums], values[sizes])
        return values, measured


def _name(layer: VectorQuantizer, languages: Sequence[str]) -> str:
    """One that hears several languages belongs to none."""
    language = languages[0] if len(languages) == 1 else ""
    return f"vq:{language}/{layer.name}" if language else f"vq:{layer.name}"


def _seed(seed: int, step: tf.Variable, name: str):
    """Of a jitter: from the step alone, so that a resumed run draws the same.

    It is the same on all replicas and micro-batches, and other than the losses' own.
    """
    place = 1000 + int(name.removeprefix("jitter"))

    def draw() -> tf.Tensor:
        both = tf.stack([tf.constant(seed, tf.int64), tf.convert_to_tensor(step)])
        return tf.random.experimental.stateless_fold_in(both, place)

    return draw
