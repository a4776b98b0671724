"""Embeds sources by one tower of a model, some at a time."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from avl_tf import evaluation, progress
from avl_tf.errors import UserError
from avl_tf.trained import sources
from avl_tf.trained.sources import Source

# As evaluation's; InvalidItem if an item has no embedding.
Tower = evaluation.Tower
_BATCH = 64


class InvalidItem(UserError):
    """An item of a batch that a tower cannot embed: which, and why."""

    def __init__(self, index: int, reason: str):
        super().__init__(f"item {index} of the batch cannot be embedded: {reason}.")
        self.index, self.reason = index, reason


def embed(
    tower: Tower,
    given: Sequence[Source],
    read: Callable[[Source], dict[str, Any]],
    dim: int,
) -> np.ndarray:
    """Embeds sources.

    Args:
        tower: of one branch.
        given: the sources.
        read: from a source to the branch's inputs.
        dim: D.

    Returns:
        float32 [N, D].

    Raises:
        UserError: a source cannot be embedded; names it.
    """
    for number, source in enumerate(given):
        sources.check(source, f"source {number} of {len(given)}")
    many = progress.Bar(given) if len(given) > 1 else given
    found = [np.zeros((0, dim), np.float32)]
    for number, batch in enumerate(_batches(read(source) for source in many)):
        try:
            embedded = tower(batch)
        except InvalidItem as error:
            index = number * _BATCH + error.index
            raise UserError(
                f"source {index} of {len(given)} ({sources.name(given[index])}) "
                f"cannot be embedded: {error.reason}."
            ) from error
        found.append(embedded.numpy().astype(np.float32))
    embeddings = np.concatenate(found)
    sources.require_finite(given, embeddings)
    return embeddings


def _batches(inputs: Iterator[dict[str, Any]]) -> Iterator[dict[str, tf.Tensor]]:
    while batch := list(itertools.islice(inputs, _BATCH)):
        yield {name: tf.stack([one[name] for one in batch]) for name in batch[0]}
