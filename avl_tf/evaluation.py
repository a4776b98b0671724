"""Evaluation of a model on sets of records: embeddings, then recall."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from avl_tf import dataset, metrics
from avl_tf.records import RecordSet, open_records

EmbedFunction = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


def parse_sets(items: Iterable[str]) -> dict[str, RecordSet]:
    """Opens name=records items, as in --evaluate.

    Raises:
        ValueError: an item is not name=records, or a name stands twice.
        FileNotFoundError: there are no such records.
    """
    sets: dict[str, RecordSet] = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not (name and equals and path):
            raise ValueError(
                f"--evaluate: expected name=records with commas between, got '{item}'."
            )
        if name in sets:
            raise ValueError(f"--evaluate: the name '{name}' stands twice.")
        sets[name] = open_records(path)
    return sets


def embed_function(model: keras.Model) -> EmbedFunction:
    """Compiles a model's evaluation pass once for batches of any size."""
    signature = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype)
        for name, tensor in model.input.items()
    }

    @tf.function(input_signature=[signature])
    def embed(inputs):
        return model(inputs, training=False)

    return lambda batch: embed({name: batch[name] for name in signature})


def embed_all(
    embed: EmbedFunction, batches: Iterable[dict[str, tf.Tensor]]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeds every clip of the batches of an evaluation set.

    Returns:
        audio embeddings float32 [N, D], visual embeddings [N, D], and the clip ids.

    Raises:
        ValueError: an embedding is not finite; names the clip.
    """
    audio, visual, ids = [], [], []
    for batch in batches:
        output = embed(batch)
        audio.append(output["audio_embedding"].numpy())
        visual.append(output["visual_embedding"].numpy())
        ids += [clip_id.decode() for clip_id in batch["clip_id"].numpy()]
        finite = np.isfinite(audio[-1]).all(1) & np.isfinite(visual[-1]).all(1)
        if not finite.all():
            clip_id = ids[len(ids) - len(finite) + int(np.argmin(finite))]
            raise ValueError(
                f"clip {clip_id}: its embedding is not finite. The weights or the "
                "features hold a NaN."
            )
    return np.concatenate(audio), np.concatenate(visual), ids


def evaluate_set(
    embed: EmbedFunction,
    records: RecordSet,
    clip_s: float,
    batch_size: int,
    log_mel_reference: str,
    population: int = 0,
) -> dict[str, float]:
    """Retrieval metrics over all clips of a set at once.

    clip_s, batch_size and log_mel_reference are those of dataset.evaluation_batches;
    population is what recall is divided by if clips are missing, 0 for none.
    """
    batches = dataset.evaluation_batches(records, clip_s, batch_size, log_mel_reference)
    audio, visual, _ = embed_all(embed, dataset.read(batches, records))
    return metrics.retrieval_metrics(audio, visual, population or None)
