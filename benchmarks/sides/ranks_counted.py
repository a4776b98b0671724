"""avl_tf's ranks, by counting.

Settings: n; dim, 0 for ranks of a ready similarity matrix in one direction, else of
embeddings in both; found: an .npz; with_tensorflow: whether TensorFlow is loaded, as
where embeddings are made.
"""

import importlib

import numpy as np

from avl_tf import metrics
from benchmarks.inputs import embeddings, similarity
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    n, dim = settings["n"], settings["dim"]
    if settings.get("with_tensorflow"):
        importlib.import_module("tensorflow")
    given = embeddings(n, dim) if dim else similarity(n)

    def work():
        if dim:
            rank = np.stack(list(metrics.embedding_ranks(*given).values()))
        else:
            rank = metrics.ranks(given)[np.newaxis]
        save_once(settings["found"], rank=rank)
        return {"share": 1}

    return work


if __name__ == "__main__":
    serve(prepare)
