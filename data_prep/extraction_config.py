"""The settings of extraction: what is computed of recordings, and how it is dealt."""

import dataclasses

from avl_tf.settings import SEEDS, setting
from avl_tf.settings.audio import AudioConfig
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits
from avl_tf.settings.stored import AUTHORS_2D, STORAGES


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


@dataclasses.dataclass(frozen=True)
class ExtractionConfig:
    """What is computed from every recording. A weights of "" is the backbone's own."""

    backbone_2d: str = setting(
        AUTHORS_2D.backbone,
        "Frozen image CNN (the paper: resnet152); empty for none.",
    )
    weights_2d: str = setting("", "Its weights file, if it needs one.")
    backbone_3d: str = setting(
        "", "Frozen video CNN (the paper: resnext101_3d); empty for none."
    )
    weights_3d: str = setting("", "Its weights file.")
    storage: str = "float16"
    keep_images: bool = setting(
        False,
        "Keep the manifest's images as JPEGs of a shorter side of 256 pixels at most, "
        "for an --image_encoder that is trained (avl_tf.train); backbones may then be "
        "empty.",
    )
    audio: AudioConfig = AudioConfig()
    limits: Limits = DEFAULT_LIMITS
