"""data_prep's extraction of one video to a shard.

Settings: video, backbone, folder; frames, as --frames, or all.
"""

from avl_tf import extraction, records
from avl_tf.manifest import Recording
from avl_tf.settings.extraction import ExtractionConfig
from benchmarks.side import Work, serve
from data_prep import shard_tasks
from data_prep.shard_tasks import ShardTask


def prepare(settings: dict) -> Work:
    extraction.limit_threads(1)
    config = ExtractionConfig(
        settings["backbone"], "", "", "", frames=settings.get("frames", "all")
    )
    extraction.feature_specs(config)  # loads the CNN
    task = ShardTask(
        settings["folder"],
        records.shard_name("all", 0, 1),
        (Recording("video", settings["video"]),),
        config,
    )

    def work():
        return {"n_bytes": shard_tasks.extract_shard(task).spec.n_bytes}

    return work


if __name__ == "__main__":
    serve(prepare)
