"""Search in a trained model's space: an index directory, and what is made of it.

D/index.sqlite               what is indexed: media, windows, notes (store, writing)
D/segments/NNNNNN-visual.npy  their embeddings, immutable (segments)
D/cache/                     may be deleted at any time
D/failures.jsonl             what could not be indexed
"""

from avl_tf.retrieval.entries import ModelNote, Segment, Window
from avl_tf.retrieval.store import Store

__all__ = ["ModelNote", "Segment", "Store", "Window"]
