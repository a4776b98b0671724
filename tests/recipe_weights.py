"""Weights of a CNN from its keys and shapes alone, as tests/data/README.md has them.

The golden features were computed with the same ones.
"""

import zlib

import numpy as np
import torch_files


def array(tag, key, shape):
    """Makes the array of one key; a batch norm's counter is the int 7."""
    random = np.random.default_rng(zlib.crc32(f"{tag}/{key}".encode()))
    if key.endswith("num_batches_tracked"):
        return np.array(7)
    if key.endswith("running_mean"):
        values = 0.1 * random.standard_normal(shape)
    elif key.endswith("running_var"):
        values = 1 + 0.2 * random.random(shape)
    elif len(shape) == 1 and key.endswith("weight"):
        scale = 0.2 if "bn3" in key else 1
        values = scale * (1 + 0.1 * random.standard_normal(shape))
    elif len(shape) == 1:
        values = 0.1 * random.standard_normal(shape)
    else:
        values = np.sqrt(2 / np.prod(shape[1:])) * random.standard_normal(shape)
    return values.astype(np.float32)


def write(path, arrays):
    """Writes a state_dict as torch.save does."""
    path.write_bytes(torch_files.zip_bytes(torch_files.state(arrays)))
    return path
