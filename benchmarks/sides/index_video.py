"""One video extracted, cut into windows, embedded and committed to an index.

Settings: video; model (of ModelConfig, for EfficientNet-Lite0's features); folder.
"""

import os

import keras

from avl_tf.model import ModelConfig, build_model
from avl_tf.retrieval import making, origins, writing
from avl_tf.retrieval.embedding import RecordEmbedder
from avl_tf.retrieval.origins import Origin
from avl_tf.retrieval.tasks import Model, Task
from avl_tf.retrieval.windows import WindowConfig
from benchmarks import made_run
from benchmarks.side import Work, serve


def prepare(settings: dict) -> Work:
    run_dir = os.path.join(settings["folder"], "run")
    make_run(run_dir, settings["model"])
    config = WindowConfig().settled(10.0)
    videos = Origin("videos", os.path.dirname(settings["video"]))
    wanted, _ = origins.of_media(videos, config, sees_images=False)
    own = next(one for one in wanted if one.source.media == settings["video"])
    task = Task(Model(run_dir), (own,), config)
    making.require_eyes(task.model)  # loads the model and the CNN
    note = RecordEmbedder(run_dir).note()

    def work():
        origins.content.cache_clear()
        found = making.make(task)
        with writing.writing(os.path.join(settings["folder"], "index")) as writer:
            writer.claim(note)
            writer.add(found)
            return {"n_windows": len(found[0].spans), "n_bytes": 0}

    return work


def make_run(run_dir: str, model: dict) -> None:
    """Writes the run of an untrained model."""
    keras.utils.set_random_seed(0)
    config = ModelConfig(**model)
    made_run.write(run_dir, build_model(config), config, "efficientnet_lite0")


if __name__ == "__main__":
    serve(prepare)
