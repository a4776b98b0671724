"""Spoken queries among the vectors of an index, reduced and looked at again.

Settings: folder: of the index, made if it is not there; n; dim; n_queries; found: an
.npz. Facts: build_s, recall (as the build measured it), cache_mb, open_s, and
first_s: opened with a first search.
"""

import os
import time

import numpy as np

from avl_tf.retrieval import Store, vectors
from avl_tf.retrieval.writing import writing
from benchmarks import made_index
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    folder = settings["folder"]
    made_index.make(folder, settings["n"], settings["dim"])
    with writing(folder) as writer:
        report = vectors.build(writer, "visual", flat_up_to=settings["n"] // 2)
    queries = made_index.queries(settings["n_queries"], settings["dim"])
    started = time.perf_counter()
    store = Store.open(folder)
    index = vectors.VectorIndex.open(store, "visual")
    open_s = time.perf_counter() - started
    index.search(queries[:1], 10)
    first_s = time.perf_counter() - started
    facts = {
        "build_s": report.seconds,
        "recall": report.recall or 0.0,
        "cache_mb": os.path.getsize(f"{folder}/cache/visual.faiss") / 1e6,
        "open_s": open_s,
        "first_s": first_s,
    }

    def work():
        ids = [index.search(query[np.newaxis], 10)[1] for query in queries]
        save_once(settings["found"], ids=np.concatenate(ids))
        return facts

    return work


if __name__ == "__main__":
    serve(prepare)
