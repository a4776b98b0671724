"""An index for any other engine: two arrays and a line a window; no TensorFlow here."""

import dataclasses
import os
import shutil

import numpy as np

from avl_tf import json_text, whole_files
from avl_tf.errors import UserError
from avl_tf.retrieval.entries import SIDES
from avl_tf.retrieval.segments import sync_folder
from avl_tf.retrieval.store import Store

_ROWS_AT_ONCE = 10_000


def export(store: Store, folder: str) -> int:
    """Writes visual.npy, audio.npy and windows.jsonl, or nothing at all.

    Arrays are float16 [N, D], a row a line of windows.jsonl; a row of NaN where nothing
    is seen, or heard.

    Args:
        store: the index.
        folder: a new one.

    Returns:
        N, the number of windows.

    Raises:
        UserError: the folder is there already.
        OSError: it cannot be written.
    """
    if os.path.lexists(folder):
        raise UserError(f"--export={folder}: it is there already. Name a new folder.")
    listed = store.segments
    ids = np.concatenate(
        [np.zeros(0, np.int64)]
        + [np.arange(s.first_window, s.first_window + s.n_windows) for s in listed]
    )
    alive = store.alive(ids)
    dim = store.model.embedding_dim
    os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
    made = whole_files.temporary_name(os.path.abspath(folder))
    os.makedirs(made)
    try:
        for side in SIDES:
            path = os.path.join(made, f"{side}.npy")
            shape, done, seen = (int(alive.sum()), dim), 0, 0
            with open(path, "wb") as out:
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)
                for segment in listed:
                    kept = alive[seen : seen + segment.n_windows]
                    out.write(store.vectors(side, segment)[kept].tobytes())
                    seen, done = seen + segment.n_windows, done + int(kept.sum())
        with open(os.path.join(made, "windows.jsonl"), "w", encoding="utf-8") as lines:
            kept_ids = ids[alive]
            for begin in range(0, len(kept_ids), _ROWS_AT_ONCE):
                for one in store.windows(kept_ids[begin : begin + _ROWS_AT_ONCE]):
                    lines.write(json_text.dump(dataclasses.asdict(one)) + "\n")
        sync_folder(made)
        os.rename(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return len(kept_ids)
