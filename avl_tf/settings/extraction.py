"""The settings of extraction: what is computed of a recording."""

import dataclasses

from avl_tf.errors import UserError
from avl_tf.settings import setting
from avl_tf.settings.audio import AudioConfig
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits
from avl_tf.settings.stored import AUTHORS_2D, AUTHORS_3D, FRAMES


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
    frames: str = setting(
        "all",
        "Which frames of a video --backbone_2d sees, one a second: the nearest of all, "
        "or the nearest key frame, which is much faster; what differs is in "
        "docs/data.md.",
        choices=FRAMES,
    )
    audio: AudioConfig = AudioConfig()
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        videos = self.backbone_3d or self.backbone_2d == AUTHORS_3D.backbone
        if self.frames == "key" and videos:
            raise UserError(
                "--frames=key is for an image CNN alone: a video CNN (--backbone_3d) "
                "sees many frames of each second, and key frames are few. Leave one of "
                "the two out."
            )
