"""Floating-point operations from layer shapes: a multiplication and an addition are 2.

Convolutions and matrix products alone: what is left (norms, gates, Adam) is less than a
hundredth of them, though not of the time.
"""

from collections.abc import Sequence


def avlnet(
    n_frames: int = 1000,
    n_mels: int = 40,
    audio_widths: Sequence[int] = (128, 128, 256, 512, 1024),
    blocks_per_stage: int = 2,
    visual_dim: int = 4096,
    embedding_dim: int = 4096,
) -> int:
    """Counts the forward pass of one clip; a training step is three times that.

    The defaults are the paper's model on 10 s of audio (8 GFLOP).
    """
    n_steps, width = n_frames, audio_widths[0]
    total = 2 * n_steps * n_mels * width
    for wider in audio_widths[1:]:
        n_steps = -(-n_steps // 2)
        kernels = 9 * width * wider + width * wider  # first convolution, shortcut
        kernels += (2 * blocks_per_stage - 1) * 9 * wider * wider
        total += 2 * n_steps * kernels
        width = wider
    audio_head = 2 * width * width + width * embedding_dim
    visual_head = visual_dim * embedding_dim + embedding_dim * embedding_dim
    return total + 2 * (audio_head + visual_head)


def resnet152(height: int = 224, width: int = 224) -> int:
    """Counts one image through ResNet-152 (stride in the 3 x 3 convolution).

    Source: He et al. 2016, Table 1: 11.3e9 multiplications with the stride in the
        first 1 x 1 convolution and 224 x 224 pixels.
    """
    height, width = -(-height // 2), -(-width // 2)
    total = height * width * 7 * 7 * 3 * 64
    height, width = -(-height // 2), -(-width // 2)
    channels = 64
    for stage, n_blocks in enumerate((3, 8, 36, 3)):
        inner, wide = 64 * 2**stage, 256 * 2**stage
        for block in range(n_blocks):
            total += height * width * channels * inner
            if block == 0:
                if stage:
                    height, width = -(-height // 2), -(-width // 2)
                total += height * width * channels * wide
            total += height * width * (9 * inner * inner + inner * wide)
            channels = wide
    return 2 * total


def resnext101_3d() -> int:
    """Counts 16 frames of 112 x 112 through the 3-D ResNeXt-101 (cardinality 32).

    Source: Hara et al. 2018; the authors' resnext.py (avl_tf/backbones/resnext3d.py).
    """
    n_frames, side = 16, 56
    total = n_frames * side**2 * 7**3 * 3 * 64
    n_frames, side = 8, 28
    channels = 64
    for stage, n_blocks in enumerate((3, 4, 23, 3)):
        inner, wide = 128 * 2**stage, 256 * 2**stage
        for block in range(n_blocks):
            total += n_frames * side**2 * channels * inner
            if block == 0:
                if stage:
                    n_frames, side = -(-n_frames // 2), -(-side // 2)
                total += n_frames * side**2 * channels * wide
            grouped = 27 * inner * inner // 32
            total += n_frames * side**2 * (grouped + inner * wide)
            channels = wide
    return 2 * total
