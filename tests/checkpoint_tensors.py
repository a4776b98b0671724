"""What checkpoints hold, to be compared with that of others."""

import numpy as np
import tensorflow as tf


def tensors(path: str) -> dict[str, bytes]:
    """Every variable of a checkpoint, by its name.

    Without the graph of objects: told apart by its type, it has no fixed order.
    """
    reader = tf.train.load_checkpoint(path)
    return {
        name: np.asarray(reader.get_tensor(name)).tobytes()
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }
