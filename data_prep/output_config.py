"""The settings of the folder that shards go into, and how they are dealt."""

import dataclasses

from avl_tf.settings import SEEDS, setting
from avl_tf.settings.stored import STORAGES


@dataclasses.dataclass(frozen=True)
class OutputConfig:
    """The flags of the programs that deal recordings to shards."""

    out_dir: str = setting(None, "Folder for shards and spec.json.", required=True)
    storage: str = setting(
        "float16",
        "How arrays are written; int8 takes half the bytes.",
        choices=STORAGES,
    )
    recordings_per_shard: int | None = setting(
        None,
        "Recordings in a shard, at most; if left out 16, or 64 clips of a pickle.",
        lower=1,
    )
    seed: int = setting(0, "Seed of the order of recordings.", upper=SEEDS)
    retry_failed: bool = setting(False, "Try again the recordings that failed before.")

    @property
    def folder(self) -> str:
        """out_dir without a slash at its end."""
        return self.out_dir.rstrip("/")
