"""Whether a model that was loaded is the one that an index was made with."""

from typing import Any

import numpy as np
import tensorflow as tf

from avl_tf.errors import UserError
from avl_tf.retrieval.entries import ModelNote
from avl_tf.trained import identity
from avl_tf.trained.embedder import Embedder

# Those of the model's inputs that are no float32.
_DTYPES = {"image": np.uint8, "n_frames": np.int32}


def golden(embedder: Embedder) -> dict[str, Any]:
    """The golden pair of a model for a ModelNote, and whether a GPU made it."""
    pair = {name: value.tolist() for name, value in embedder.golden().items()}
    return {**pair, "on_gpu": identity.has_gpu()}


def require_golden(embedder: Embedder, note: ModelNote, index_dir: str) -> None:
    """Makes sure that a model embeds as when it was noted; takes one small batch.

    Raises:
        UserError: its embeddings of the golden input are others.
    """
    if not isinstance(note.golden, dict):  # of an index of before there was one
        return
    try:
        kept = {
            name: np.asarray(value, _DTYPES.get(name.partition(":")[0], np.float32))
            for name, value in note.golden.items()
        }
        batch = {name: tf.constant(value) for name, value in kept.items()}
        found = identity.golden_pair({}, embedder.embed(batch))
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise UserError(
            f"{index_dir}: the golden pair of its model is damaged ({error}). "
            "Make the index anew: avl_tf.index --rebuild."
        ) from error
    told = identity.difference(kept, found, bool(note.golden.get("on_gpu")))
    if told:
        raise UserError(
            f"{index_dir}: its model does not embed the golden input as when the index "
            f"was made: {told}. TensorFlow {tf.__version__} computes otherwise on this "
            "processor, or weights were damaged: search where the index was made, or "
            "make it anew here by avl_tf.index --rebuild."
        )
