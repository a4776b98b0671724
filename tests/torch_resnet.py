"""torchvision's ResNet in NumPy, and frames to give it."""

import numpy as np
import recipe_weights


def random_frames(n_frames, height, width, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n_frames, height, width, 3), dtype=np.uint8)


class TorchResNet:
    """torchvision's ResNet in NumPy, channels first, batch norms not folded.

    Every array is made as the forward pass comes to it.
    """

    def __init__(self, bottleneck, blocks):
        self.bottleneck = bottleneck
        self.blocks = blocks
        self.arrays = {"fc.weight": np.zeros((1000, 1), np.float32)}

    def parameter(self, key, shape):
        return self.arrays.setdefault(key, recipe_weights.array("test", key, shape))

    def convolution(self, x, channels, size, stride, name, norm):
        padding = size // 2
        kernel = self.parameter(f"{name}.weight", (channels, x.shape[1], size, size))
        x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
        x = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
        x = x[:, :, ::stride, ::stride]
        x = np.moveaxis(np.tensordot(x, kernel, ((1, 4, 5), (1, 2, 3))), 3, 1)
        parts = ("weight", "bias", "running_mean", "running_var")
        scale, offset, mean, variance = (
            self.parameter(f"{norm}.{part}", (channels,))[:, None, None]
            for part in parts
        )
        self.parameter(f"{norm}.num_batches_tracked", ())
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + offset

    def block(self, x, channels, stride, name):
        if self.bottleneck:
            layers = ((channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1))
        else:
            layers = ((channels, 3, stride), (channels, 3, 1))
        y = x
        for index, (width, size, step) in enumerate(layers, 1):
            y = np.maximum(y, 0)
            y = self.convolution(
                y, width, size, step, f"{name}.conv{index}", f"{name}.bn{index}"
            )
        if x.shape != y.shape:
            names = (f"{name}.downsample.0", f"{name}.downsample.1")
            x = self.convolution(x, y.shape[1], 1, stride, *names)
        return np.maximum(x + y, 0)

    def __call__(self, frames):
        mean, stddev = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        x = np.moveaxis((frames / 255 - mean) / stddev, 3, 1)
        x = np.maximum(self.convolution(x, 64, 7, 2, "conv1", "bn1"), 0)
        x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
        x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
        x = x[:, :, ::2, ::2].max((4, 5))
        for stage, n_blocks in enumerate(self.blocks):
            for index in range(n_blocks):
                stride = 2 if stage and not index else 1
                name = f"layer{stage + 1}.{index}"
                x = self.block(x, 64 * 2**stage, stride, name)
        return x.mean((2, 3))
