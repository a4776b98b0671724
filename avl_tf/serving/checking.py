"""Whether an export embeds as its model does: by a process that has only TensorFlow."""

import os
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from avl_tf import audio, dataset, files, images, runs
from avl_tf.backbones import Backbone
from avl_tf.errors import UserError
from avl_tf.media.tracks import ANY
from avl_tf.model import branch
from avl_tf.settings import branches
from avl_tf.trained import sources

# How far an embedding of the export may be off, in parts of the largest value. What a
# CNN sees is rounded to float16, and may be so to either side.
_TOLERANCE = 1e-5
_TOLERANCES = {"frames": 1e-3}
_HEARD = ("waveform", "wav_bytes", "log_mel", "log_mel_steps")
# Run with nothing but TensorFlow: inputs and embeddings go by .npz files.
_BARE_PROCESS = """
import sys
for name in ("keras", "tf_keras", "avl_tf"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1]).signatures
given = np.load(sys.argv[2])
inputs = {}
for number, place in enumerate(sys.argv[4:]):
    signature, argument = place.split("/")
    encoded = [open(f"{number}-{i}", "rb").read() for i in range(2)]
    inputs[signature] = {argument: tf.constant(encoded)}
for key in given:
    name, argument = key.split("/")
    inputs.setdefault(name, {})[argument] = tf.constant(given[key])
found = {}
for name in inputs:
    found[name], = (
        value
        for key, value in loaded[name](**inputs[name]).items()
        if key.endswith("_embedding")
    )
np.savez(sys.argv[3], **found)
"""


def check(
    model: keras.Model, info: runs.RunInfo, path: str, backbone: Backbone | None = None
) -> None:
    """Embeds noise by the export, in a bare process, and by the model.

    Args:
        model: the model.
        info: of its run.
        path: the export.
        backbone: of the export's signature frames, if it has one.

    Raises:
        UserError: the embeddings differ, or the process was killed.
        OSError: the machine lacks something.
        RuntimeError: the process cannot use the export.
    """
    random = np.random.default_rng(0)
    given: dict[str, np.ndarray] = {}
    encoded: dict[str, list[bytes]] = {}
    inputs: dict[str, np.ndarray] = {}
    seen = _shown if info.model.image_encoder else _featured
    *heard, _ = info.model.branches
    noises = [*(_heard(info, random, name) for name in heard), seen(info, random)]
    for noise in noises:
        given |= noise[0]
        encoded |= noise[1]
        inputs |= noise[2]
    expected = model(inputs, training=False)
    embeds = {f"{k}{branches.suffix(name)}": name for name in heard for k in _HEARD}
    if backbone:
        filmed, visual = _filmed(info, random, backbone)
        given |= filmed
        seen_by = branch(model, "visual")
        expected["frames_embedding"] = seen_by({"visual": visual}, training=False)
        embeds["frames"] = "frames"
    found = _embed_in_bare_process(path, given, encoded)
    for name, embedding in found.items():
        wanted = expected[f"{embeds.get(name, 'visual')}_embedding"].numpy()
        error = np.max(np.abs(embedding - wanted)) / np.max(np.abs(wanted))
        if not error <= _TOLERANCES.get(name, _TOLERANCE):
            raise UserError(
                f"the export's signature '{name}' is off by {error:.2g} of the largest "
                "value of the model's embedding; the export is not kept. Is a weight "
                "not finite?"
            )


def _heard(info: runs.RunInfo, random: np.random.Generator, name: str):
    """Noise for an audio branch to hear.

    Returns:
        "signature/argument" -> array, the same -> encoded files, and what the model
        takes instead of either.
    """
    config = info.model.audio
    # Whole 16-bit steps, so that the same waveform can go as WAV bytes.
    steps = random.integers(-9000, 9000, (2, config.sample_rate))
    waveform = (steps / 32768).astype(np.float32)
    n_samples = np.full(2, config.sample_rate, np.int32)
    log_mel = audio.log_mel(waveform, config).numpy()
    n_frames = np.full(2, log_mel.shape[1], np.int32)
    suffix = branches.suffix(name)
    given = {
        f"waveform{suffix}/waveform": waveform,
        f"waveform{suffix}/n_samples": n_samples,
    }
    for kind in ("log_mel", "log_mel_steps"):
        given[f"{kind}{suffix}/log_mel"] = log_mel
        given[f"{kind}{suffix}/n_frames"] = n_frames
    wavs = [
        tf.audio.encode_wav(w[:, np.newaxis], config.sample_rate).numpy()
        for w in waveform
    ]
    language = name.removeprefix("audio")
    inputs = {f"log_mel{language}": log_mel, f"n_frames{language}": n_frames}
    return given, {f"wav_bytes{suffix}/wav_bytes": wavs}, inputs


def _featured(info: runs.RunInfo, random: np.random.Generator):
    """Features to see, as _heard."""
    given, windows, masks = {}, [], []
    for name, stream in (("2d", info.features_2d), ("3d", info.features_3d)):
        if stream:
            features = random.uniform(0, 1, (2, 3, stream.dim)).astype(np.float32)
            given[f"features/features_{name}"] = features
            given[f"features/n_{name}"] = np.array([3, 2], np.int32)
            windows.append(tf.math.l2_normalize(features, axis=-1))
            masks.append(tf.sequence_mask([3, 2], 3))
    pooling = info.model.visual_pooling
    visual = dataset.pool_features(windows, masks, pooling).numpy()
    return {**given, "visual/visual": visual}, {}, {"visual": visual}


def _filmed(info: runs.RunInfo, random: np.random.Generator, backbone: Backbone):
    """Frames to see, and the pooled features of them [2, D]."""
    side, n_frames = backbone.short_side, np.array([3, 2], np.int32)
    frames = random.integers(0, 256, (2, 3, side, side + 9, 3), dtype=np.uint8)
    pooled = [
        sources.pooled(
            (item[:n], backbone.fps),
            {"features_2d": backbone},
            info.model.audio.sample_rate,
            ANY,
            info.model.visual_pooling,
        )["visual"]
        for item, n in zip(frames, n_frames, strict=True)
    ]
    given = {"frames/frames": frames, "frames/n_frames": n_frames}
    return given, tf.stack(pooled)


def _shown(_: runs.RunInfo, random: np.random.Generator):
    """Images to see, as _heard."""
    noise = random.integers(0, 256, (2, 300, 260, 3), dtype=np.uint8)
    encoded = [tf.io.encode_png(noise[0]), tf.io.encode_jpeg(noise[1])]
    image = tf.stack([images.centre_crop(images.decode(one)) for one in encoded])
    contents = [one.numpy() for one in encoded]
    image = image.numpy()
    return (
        {"image/image": image},
        {"image_bytes/image_bytes": contents},
        {"image": image},
    )


def _embed_in_bare_process(
    path: str, given: dict[str, np.ndarray], encoded: dict[str, list[bytes]]
) -> dict[str, np.ndarray]:
    # A process that has only TensorFlow opens no remote path.
    with (
        files.local_copy(path) as copied,
        files.plain(os.path.abspath(copied)) as local,
        tempfile.TemporaryDirectory() as scratch,
    ):
        paths = [os.path.join(scratch, name) for name in ("given.npz", "found.npz")]
        np.savez(paths[0], **given)
        for number, contents in enumerate(encoded.values()):
            for i, content in enumerate(contents):
                with open(os.path.join(scratch, f"{number}-{i}"), "wb") as out:
                    out.write(content)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", _BARE_PROCESS, local, *paths, *encoded],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode < 0:
            raise UserError(
                f"the process that checks the export was killed (signal "
                f"{-done.returncode}), perhaps for want of memory; it is not kept."
            )
        if done.returncode:
            *_, last = ["", *done.stderr.strip().splitlines()]
            if last.startswith("OSError: [Errno"):
                raise OSError(last.removeprefix("OSError: "))
            raise RuntimeError(
                "the export cannot be used by a process that has only TensorFlow: "
                f"{last}; it is not kept."
            )
        return dict(np.load(paths[1]))
