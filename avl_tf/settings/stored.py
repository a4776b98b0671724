"""What records hold beside sound: visual streams, and how arrays are written."""

import dataclasses
from typing import Any

from avl_tf import fields

STORAGES = ("float16", "int8")
# Which frames of a video a feature may be of: the nearest of all, or of key frames.
FRAMES = ("all", "key")

# Wider and faster than any CNN; memory is in proportion to them.
_BOUNDS: dict[str, fields.Check] = {
    "backbone": fields.text(),
    "dim": fields.whole(1, 2**20),
    "rate_hz": fields.number(0, 1000),
    "frames": fields.choice(*FRAMES),
}
FEATURES_CHECK = fields.record(_BOUNDS, optional=("frames",))


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """One visual stream: which backbone, how wide, how many vectors a second.

    0 a second is a clip's vectors, pooled before they came here. frames is one of
    FRAMES.
    """

    backbone: str
    dim: int
    rate_hz: float
    frames: str = "all"

    def __post_init__(self) -> None:
        check = fields.record(_BOUNDS, others=True)
        fields.require(dataclasses.asdict(self), check, "features")

    def to_json(self) -> dict[str, Any]:
        """As versions write and read it that know of no key frames, where it can be."""
        value = dataclasses.asdict(self)
        if self.frames == "all":
            del value["frames"]
        return value


# The authors' features: of ImageNet's ResNet and of Kinetics' ResNeXt.
AUTHORS_2D = FeatureSpec("resnet152", 2048, 1.0)
AUTHORS_3D = FeatureSpec("resnext101_3d", 2048, 1.5)
