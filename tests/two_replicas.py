"""Takes two training steps on N logical CPUs and saves losses and weights.

python tests/two_replicas.py N_DEVICES OUT.npz
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from avl_tf import optimizers, training
from avl_tf.model import ModelConfig, build_model


def main(n_devices: int, path: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * n_devices
    )
    random = np.random.default_rng(0)
    half = {
        "log_mel": random.uniform(-80, 0, (4, 96, 40)).astype(np.float32),
        "n_frames": np.array([96, 80, 96, 17], np.int32),
        "visual": random.uniform(0, 1, (4, 6)).astype(np.float32),
    }
    # Both halves hold the same clips, so that a replica's batch statistics are those
    # of the global batch and nothing but the distribution can make a difference.
    batch = {name: np.concatenate([value, value]) for name, value in half.items()}
    found = {}
    for name, make in (
        ("sgd", lambda: keras.optimizers.SGD(0.5)),
        ("adam", lambda: optimizers.Adam(1e-3)),
    ):
        found.update(_steps(name, make, batch, n_devices))
    np.savez(path, **found)


def _steps(name, make_optimizer, batch, n_devices):
    strategy = training._strategy()
    assert strategy.num_replicas_in_sync == n_devices
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = build_model(ModelConfig((6,), audio_widths=(8, 8), embedding_dim=8))
        optimizer = make_optimizer()
        optimizer.build(model.trainable_variables)
        step = tf.Variable(0, dtype=tf.int64)
    train_step = training._train_step(strategy, model, optimizer, step, margin=0.001)
    n = 8 // n_devices

    def part(context):
        first = n * context.replica_id_in_sync_group
        return {k: tf.constant(v[first : first + n]) for k, v in batch.items()}

    dealt = strategy.experimental_distribute_values_from_function(part)
    losses = [float(train_step(dealt)) for _ in range(2)]
    weights = [w.numpy() for w in model.trainable_variables]
    return {
        f"{name}/losses": losses,
        **{f"{name}/{i}": weight for i, weight in enumerate(weights)},
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
