"""The SavedModel of a run: from waveforms, log-mels or features to embeddings.

It holds no custom op and needs no Python of ours: plain TensorFlow, TensorFlow Serving
and hub.load read it. Its signatures:
    waveform    waveform float32 [B, S] at the model's rate, n_samples int32 [B]
    wav_bytes   wav_bytes string [B]: WAV files with a plain 16-bit PCM header, of any
                rate and any number of channels; also the default signature
    log_mel     log_mel float32 [B, T, F], n_frames int32 [B]
                each -> audio_embedding float32 [B, D]
    visual      visual float32 [B, Dv], pooled as dataset.pool_features does
    features    a recording's features, one vector a time step: features_2d float32
                [B, K2, D2], n_2d int32 [B], and features_3d, n_3d if the model has
                them; L2-normalised and pooled here
                each -> visual_embedding float32 [B, D]
The similarity of two embeddings is their dot product. As in the authors' code, padding
reaches up to 4.2 s into a clip: one embedded beside longer clips differs from one
embedded alone.
"""

import os
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from avl_tf import audio, dataset, files, runs
from avl_tf.model import audio_branch, visual_branch

# How far an embedding of the export may be off, in parts of the largest value.
_TOLERANCE = 1e-5


def folder(run_dir: str) -> str:
    """The folder of a run's exports; TensorFlow Serving takes it as it is."""
    return files.join(run_dir, "export")


def export(run_dir: str) -> str:
    """Exports a run's model to the next RUN_DIR/export/N and checks the export.

    The folder's assets.extra/ holds run.json and flags.txt, for avl_tf.evaluate.

    Returns:
        The folder written.

    Raises:
        ValueError: the export, loaded by a process that has only TensorFlow, does not
            embed as the model does. It is not kept.
    """
    model, info = runs.load_model(run_dir)
    versions = [0]
    if tf.io.gfile.exists(folder(run_dir)):
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(folder(run_dir))]
        versions += [int(name) for name in names if name.isdigit()]
    final = files.join(folder(run_dir), str(max(versions) + 1))
    temporary = files.temporary_name(folder(run_dir))
    try:
        _write(model, info, temporary)
        runs.copy_settings(run_dir, files.join(temporary, "assets.extra"))
        _check(model, info, temporary)
        tf.io.gfile.makedirs(folder(run_dir))
        tf.io.gfile.rename(temporary, final)
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.rmtree(temporary)
    return final


def _write(model: keras.Model, info: runs.RunInfo, path: str) -> None:
    config = info.model.audio
    audio_model, visual_model = audio_branch(model), visual_branch(model)

    def embed_log_mel(log_mel, n_frames):
        inputs = {"log_mel": log_mel, "n_frames": n_frames}
        return {"audio_embedding": audio_model(inputs, training=False)}

    def embed_waveform(waveform, n_samples):
        log_mel = audio.log_mel(waveform, config, n_samples)
        return embed_log_mel(log_mel, audio.n_frames(n_samples, config))

    def embed_wav(wav_bytes):
        waveforms = tf.map_fn(
            lambda content: _decode_wav(content, config.sample_rate),
            wav_bytes,
            fn_output_signature=tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0),
        )
        n_samples = tf.cast(waveforms.row_lengths(), tf.int32)
        return embed_waveform(waveforms.to_tensor(), n_samples)

    def embed_visual(visual):
        inputs = {"visual": visual}
        return {"visual_embedding": visual_model(inputs, training=False)}

    def embed_features(*streams):
        windows = [tf.math.l2_normalize(w, axis=-1) for w in streams[::2]]
        masks = [
            tf.sequence_mask(n_steps, tf.shape(window)[1])
            for window, n_steps in zip(windows, streams[1::2], strict=True)
        ]
        return embed_visual(dataset.pool_features(windows, masks))

    def spec(name, *shape, dtype=tf.float32):
        return tf.TensorSpec(shape, dtype, name)

    streams = []
    for name, stream in (("2d", info.features_2d), ("3d", info.features_3d)):
        if stream:
            streams.append(spec(f"features_{name}", None, None, stream.dim))
            streams.append(spec(f"n_{name}", None, dtype=tf.int32))
    functions = {
        "waveform": (
            embed_waveform,
            [spec("waveform", None, None), spec("n_samples", None, dtype=tf.int32)],
        ),
        "wav_bytes": (embed_wav, [spec("wav_bytes", None, dtype=tf.string)]),
        "log_mel": (
            embed_log_mel,
            [
                spec("log_mel", None, None, config.n_mels),
                spec("n_frames", None, dtype=tf.int32),
            ],
        ),
        "visual": (embed_visual, [spec("visual", None, sum(info.model.visual_dims))]),
        "features": (embed_features, streams),
    }
    module = tf.Module()
    # The variables alone: the Keras objects around them would ask for Keras to load.
    module.weights = [variable.value for variable in model.variables]
    signatures = {
        name: tf.function(function, input_signature=signature).get_concrete_function()
        for name, (function, signature) in functions.items()
    }
    signatures["serving_default"] = signatures["wav_bytes"]
    tf.saved_model.save(module, path, signatures)


def _decode_wav(content: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """WAV bytes to a mono waveform float32 [S] at sample_rate."""
    channels, rate = tf.audio.decode_wav(content)
    waveform = tf.reduce_mean(channels, axis=1)
    return tf.cond(
        rate == sample_rate,
        lambda: waveform,
        lambda: _resample(waveform, rate, sample_rate),
    )


def _resample(waveform: tf.Tensor, rate: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """Resamples by cutting or padding the spectrum, exact for what both rates hold.

    The transform is over whole seconds, which are whole numbers of samples at both
    rates, and takes them for periodic: half a second of silence at least stands
    between the end and the beginning.
    """
    n_samples = tf.size(waveform, tf.int64)
    rate = tf.cast(rate, tf.int64)
    n_seconds = (n_samples + rate // 2 + rate - 1) // rate
    spectrum = tf.signal.rfft(tf.pad(waveform, [[0, n_seconds * rate - n_samples]]))
    n_bins = n_seconds * (tf.minimum(rate, sample_rate) // 2) + 1
    n_bins_out = n_seconds * sample_rate // 2 + 1
    spectrum = tf.pad(spectrum[:n_bins], [[0, tf.maximum(n_bins_out - n_bins, 0)]])
    resampled = tf.signal.irfft(spectrum, [tf.cast(n_seconds * sample_rate, tf.int32)])
    gain = tf.cast(sample_rate / rate, tf.float32)
    return (resampled * gain)[: n_samples * sample_rate // rate]


# Run with nothing but TensorFlow: inputs and embeddings go by .npz files.
_BARE_PROCESS = """
import sys
for name in ("keras", "tf_keras", "avl_tf"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1]).signatures
given = np.load(sys.argv[2])
wavs = [open(f"{i}.wav", "rb").read() for i in range(int(sys.argv[4]))]
inputs = {"wav_bytes": {"wav_bytes": tf.constant(wavs)}}
for key in given:
    name, argument = key.split("/")
    inputs.setdefault(name, {})[argument] = tf.constant(given[key])
found = {}
for name in inputs:
    found[name], = loaded[name](**inputs[name]).values()
np.savez(sys.argv[3], **found)
"""


def _check(model: keras.Model, info: runs.RunInfo, path: str) -> None:
    """Embeds noise by the export, in a bare process, and by the model."""
    config = info.model.audio
    random = np.random.default_rng(0)
    # Whole 16-bit steps, so that the same waveform can go as WAV bytes.
    steps = random.integers(-9000, 9000, (2, config.sample_rate))
    waveform = (steps / 32768).astype(np.float32)
    n_samples = np.full(2, config.sample_rate, np.int32)
    log_mel = audio.log_mel(waveform, config).numpy()
    n_frames = np.full(2, log_mel.shape[1], np.int32)
    given = {
        "waveform/waveform": waveform,
        "waveform/n_samples": n_samples,
        "log_mel/log_mel": log_mel,
        "log_mel/n_frames": n_frames,
    }
    wavs = [
        tf.audio.encode_wav(w[:, np.newaxis], config.sample_rate).numpy()
        for w in waveform
    ]
    windows, masks = [], []
    for name, stream in (("2d", info.features_2d), ("3d", info.features_3d)):
        if stream:
            features = random.uniform(0, 1, (2, 3, stream.dim)).astype(np.float32)
            given[f"features/features_{name}"] = features
            given[f"features/n_{name}"] = np.array([3, 2], np.int32)
            windows.append(tf.math.l2_normalize(features, axis=-1))
            masks.append(tf.sequence_mask([3, 2], 3))
    visual = dataset.pool_features(windows, masks).numpy()
    given["visual/visual"] = visual
    inputs = {"log_mel": log_mel, "n_frames": n_frames, "visual": visual}
    expected = model(inputs, training=False)
    found = _embed_in_bare_process(path, given, wavs)
    for name, embedding in found.items():
        side = "visual" if name in ("visual", "features") else "audio"
        wanted = expected[f"{side}_embedding"].numpy()
        error = np.max(np.abs(embedding - wanted)) / np.max(np.abs(wanted))
        if not error <= _TOLERANCE:
            raise ValueError(
                f"the export's signature '{name}' is off by {error:.2g} of the largest "
                "value of the model's embedding; the export is not kept. Is a weight "
                "not finite?"
            )


def _embed_in_bare_process(
    path: str, given: dict[str, np.ndarray], wavs: list[bytes]
) -> dict[str, np.ndarray]:
    # A process that has only TensorFlow opens no remote path.
    with files.local_copy(path) as local, tempfile.TemporaryDirectory() as scratch:
        local = os.path.abspath(local)
        paths = [os.path.join(scratch, name) for name in ("given.npz", "found.npz")]
        np.savez(paths[0], **given)
        for i, wav in enumerate(wavs):
            with open(os.path.join(scratch, f"{i}.wav"), "wb") as out:
                out.write(wav)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", _BARE_PROCESS, local, *paths, str(len(wavs))],
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ValueError(
                "the export cannot be used by a process that has only TensorFlow: "
                f"{done.stderr.strip().splitlines()[-1:]}; it is not kept."
            )
        return dict(np.load(paths[1]))
