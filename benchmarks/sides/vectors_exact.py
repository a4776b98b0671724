"""Spoken queries among the vectors of an index, all products in float16 by faiss.

Settings: as of vectors_reduced, whose index it reads.
"""

import numpy as np

from avl_tf.retrieval import Store, vector_building
from benchmarks import made_index
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    with Store.open(settings["folder"]) as store:
        index = vector_building.flat(store, "visual", store.segments)
    queries = made_index.queries(settings["n_queries"], settings["dim"])

    def work():
        ids = [index.search(query[np.newaxis], 10)[1] for query in queries]
        save_once(settings["found"], ids=np.concatenate(ids))
        return {}

    return work


if __name__ == "__main__":
    serve(prepare)
