"""Takes training steps on N logical CPUs in several ways; saves losses and gradients.

python tests/two_replicas.py N_DEVICES OUT.npz [languages]
"""

import dataclasses
import sys
import tempfile
from unittest import mock

import corpus
import keras
import numpy as np
import tensorflow as tf

from avl_tf import dataset, layers, training
from avl_tf.dataset import ClipConfig
from avl_tf.model import ModelConfig, build_model
from avl_tf.records import open_records
from avl_tf.settings.stage import LOSSES, StageConfig
from avl_tf.training import devices, steps

CONFIG = ModelConfig((6,), audio_widths=(8, 8), embedding_dim=8)
WITH_IMAGES = dataclasses.replace(
    CONFIG, visual_dims=(), image_encoder="resnet18", image_width=0.125
)
WITH_CODEBOOKS = dataclasses.replace(
    CONFIG, audio_encoder="resdavenet_vq", vq_layers=(1, 2), codebook_size=6
)
WITH_MAPS = dataclasses.replace(
    WITH_IMAGES,
    audio_encoder="davenet",
    audio_widths=(8, 8, 8, 8, 8),
    similarity="misa",
)
TWO_LANGUAGES = dataclasses.replace(CONFIG, languages=("es", "ro"))
WAYS = {
    "plain": {},
    "micro": {"micro_batch": 4},
    "jit": {"jit_compile": True},
    "sync": {"sync_batch_norm": True},
    "clipped": {"clip_norm": 0.01},
}
GUIDED = {"nn_queue": 8, "nn_until_full": False, "distill_weight": 0.5}
WAYS_OF_TWO = {
    **{loss: {"loss": loss} for loss in LOSSES if loss != "mil_nce"},
    "max_margin_weighted": {"loss": "max_margin", "hard_negative_rate": 0.7},
    "bce_all_micro": {"loss": "bce", "bce_negatives": "all", "micro_batch": 2},
    "guided": GUIDED,
    "guided_micro": {**GUIDED, "micro_batch": 2},
    "masked_micro": {"loss": "mms_masked", "micro_batch": 2},
}


# Of one language, with three windows of sound for each clip.
CANDIDATES = {"loss": "mil_nce", "mil_nce_candidates": 3}
WAYS_OF_CANDIDATES = {
    "candidates": CANDIDATES,
    "candidates_micro": {**CANDIDATES, "micro_batch": 2},
}


def main(n_devices: int, path: str, languages: str = "") -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * n_devices
    )
    strategy = devices.strategy()
    assert strategy.num_replicas_in_sync == n_devices
    random = np.random.default_rng(0)

    def draw(n_clips):
        return {
            "log_mel": random.uniform(-80, 0, (n_clips, 96, 40)).astype(np.float32),
            "n_frames": np.array([96, 80, 96, 17] * (n_clips // 4), np.int32),
            "visual": random.uniform(0, 1, (n_clips, 6)).astype(np.float32),
            "image": random.integers(0, 256, (n_clips, 224, 224, 3), np.uint8),
        }

    # Both halves hold the same clips, so that the batch statistics of a replica are
    # those of the global batch and nothing but the distribution can differ.
    half, uneven = draw(4), draw(8)
    uneven["log_mel"][4:] = uneven["log_mel"][4:] / 4 - 60
    even = {name: np.concatenate([value, value]) for name, value in half.items()}
    # What is seen differs: nothing there is averaged over clips.
    other, of_two = draw(4), {"visual": uneven["visual"]}
    for language, heard in zip(TWO_LANGUAGES.languages, (half, other), strict=True):
        for key in ("log_mel", "n_frames"):
            of_two[f"{key}:{language}"] = np.concatenate([heard[key], heard[key]])
    of_two["group"] = np.array([1, 2, 3, 3, 1, 4, 5, 6])
    if languages:
        found = {}
        for way, changes in WAYS_OF_TWO.items():
            found |= _steps(strategy, way, changes, of_two, TWO_LANGUAGES)
        windows = {k: np.stack([v, v[::-1], v]) for k, v in half.items()}
        windows["log_mel"][2] /= 2
        of_windows = {"visual": uneven["visual"]}
        for key in ("log_mel", "n_frames"):
            by_clip = np.moveaxis(windows[key], 0, 1)
            of_windows[key] = np.concatenate([by_clip, by_clip])
        for way, changes in WAYS_OF_CANDIDATES.items():
            found |= _steps(strategy, way, changes, of_windows)
        np.savez(path, **found)
        return
    found = {"dealt": _dealt(strategy)}
    for way, changes in WAYS.items():
        found |= _steps(strategy, way, changes, even)
    found |= _steps(strategy, "images_single", {}, even, WITH_IMAGES)
    maps = {"loss": "triplet"}
    found |= _steps(strategy, "maps", maps, even, WITH_MAPS)
    found |= _steps(strategy, "maps_micro", {**maps, **WAYS["micro"]}, even, WITH_MAPS)
    # In double precision: the rounding of single precision flips ReLUs of the image
    # encoder, which is no matter of the distribution.
    # Training is in float32 whatever Keras is set to.
    in_double = mock.patch(
        "avl_tf.model.dtype_policy", lambda _: layers.dtype_policy("float64")
    )
    with in_double:
        found |= _steps(strategy, "images", {}, even, WITH_IMAGES)
    # Sums over replicas, and over the micro-batches of each.
    found |= _steps(strategy, "codebooks", {"micro_batch": 2}, even, WITH_CODEBOOKS)
    found |= _steps(strategy, "uneven", {}, uneven)
    found |= _steps(strategy, "uneven_sync", {"sync_batch_norm": True}, uneven)
    np.savez(path, **found)


def _steps(strategy, way, changes, batch, config=CONFIG):
    stage = StageConfig(batch_size=8, **changes)

    def make_model(mixed_precision):
        keras.utils.set_random_seed(0)
        # Of maps the image encoder is frozen: its rounding is looked at by "images".
        frozen = ["image_encoder"] if config.has_maps else []
        sync = stage.sync_batch_norm
        return build_model(config, True, mixed_precision, sync, frozen=frozen)

    with strategy.scope():
        state = steps.TrainState(make_model, stage, similarity=config.similarity)
    step = steps.train_step(strategy, state, stage, steps_per_epoch=10)
    n = 8 // strategy.num_replicas_in_sync

    def part(context):
        first = n * context.replica_id_in_sync_group
        return {k: tf.constant(v[first : first + n]) for k, v in batch.items()}

    dealt = strategy.experimental_distribute_values_from_function(part)
    first = step(dealt, with_norms=True)
    losses = [float(first["loss"])]
    # After one step the first moments are a tenth of the gradients.
    gradients = [moment.numpy() for moment in state.optimizer.first]
    losses += [float(step(dealt)["loss"]) for _ in range(2)]
    variables = [variable.value for variable in state.trained.variables]
    others = [one for one in (state.queue, state.affine) if one]
    for variable in [*variables, *(v for one in others for v in one.variables)]:
        copies = strategy.experimental_local_results(variable)
        assert all(np.array_equal(copies[0], copy) for copy in copies[1:])
    codes = [v.numpy() for v in state.trained.variables if v.name == "embedding"]
    return {
        **{f"{way}/codes{i}": value for i, value in enumerate(codes)},
        f"{way}/losses": losses,
        f"{way}/norms": [float(first[name]) for name in steps.NORMS],
        **{f"{way}/gradient{i}": value for i, value in enumerate(gradients)},
    }


def _dealt(strategy):
    """The clips of a global batch in the order in which the replicas get them."""
    with tempfile.TemporaryDirectory() as folder:
        records = open_records(corpus.make_set(folder))
        clips = ClipConfig(clip_s=2.0, clips_per_recording=8, shuffle_clips=64)
        batches = dataset.train_batches(records, clips, batch_size=32, seed=0)
        batches = training._distribute(strategy, batches, n_workers=1)
        ids = strategy.experimental_local_results(next(iter(batches))["clip_id"])
        return np.concatenate([part.numpy() for part in ids]).astype(str)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
