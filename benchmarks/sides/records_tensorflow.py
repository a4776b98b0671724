"""avl_tf's input pipeline alone: from records to training batches.

Settings: folder (made of recordings, the arguments of recordings.write, if it is not
there); clip_s; n_batches of batch_size to a repeat; found: an .npz of the first batch.

As in a training, one iteration goes on from repeat to repeat and from epoch to epoch.
"""

import os

from avl_tf import dataset
from avl_tf.dataset import ClipConfig
from avl_tf.records import open_records
from benchmarks import recordings
from benchmarks.side import Work, save_once, serve


def prepare(settings: dict) -> Work:
    folder, batch_size = settings["folder"], settings["batch_size"]
    if not os.path.exists(folder):
        os.mkdir(folder)
        recordings.write(folder, **settings["recordings"])
    records = open_records(os.path.join(folder, "records"))
    clips = ClipConfig(clip_s=settings["clip_s"])
    reading = iter(dataset.train_batches(records, clips, batch_size, seed=0))
    first = next(reading)
    save_once(
        settings["found"],
        clip_id=[clip_id.decode() for clip_id in first["clip_id"].numpy()],
        log_mel=first["log_mel"].numpy(),
        visual=first["visual"].numpy(),
    )
    n_clips = settings["n_batches"] * batch_size
    mb_each = sum(map(os.path.getsize, records.paths)) / records.n_records / 1e6

    def work():
        for _ in range(settings["n_batches"]):
            next(reading)
        return {"n_clips": n_clips, "mb_each": mb_each}

    return work


if __name__ == "__main__":
    serve(prepare)
