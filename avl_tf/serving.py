"""The SavedModel of a run: from a waveform, WAV bytes or features to embeddings.

It holds no custom op and needs no Python of ours: plain TensorFlow, TensorFlow Serving
and hub.load read it. Its signatures:
    embed_wav       wav string [B] (16-bit PCM, any rate, any channels) -> embedding
    embed_waveform  waveform float32 [B, S] at the model's rate, n_samples int32 [B]
    embed_log_mel   log_mel float32 [B, T, F], n_frames int32 [B]
    embed_visual    features_2d float32 [B, K2, D2], n_2d int32 [B], and features_3d,
                    n_3d if the model has them; one vector a time step, as the backbone
                    gives them, L2-normalised here
    serving_default is embed_wav
Each returns {"embedding": float32 [B, D]}; similarity is the dot product of an audio
and a visual embedding.
"""

import keras
import numpy as np
import tensorflow as tf

from avl_tf import audio, dataset, files, runs
from avl_tf.model import audio_branch, visual_branch


def folder(run_dir: str) -> str:
    """Where a run's export stands, in TensorFlow Serving's numbered layout."""
    return files.join(run_dir, "saved_model", "1")


def export(run_dir: str) -> str:
    """Exports a run's model to RUN_DIR/saved_model/1 and checks the export.

    Returns:
        The folder written.

    Raises:
        RuntimeError: the export, loaded again, does not embed as the model does.
    """
    model, info = runs.load_model(run_dir)
    final, temporary = folder(run_dir), files.join(run_dir, "saved_model.tmp")
    if tf.io.gfile.exists(temporary):
        tf.io.gfile.rmtree(temporary)
    _write(model, info, temporary)
    _check(model, info, temporary)
    if tf.io.gfile.exists(final):
        tf.io.gfile.rmtree(final)
    tf.io.gfile.makedirs(final.rpartition("/")[0])
    tf.io.gfile.rename(temporary, final)
    return final


def _write(model: keras.Model, info: runs.RunInfo, path: str) -> None:
    config = info.model.audio
    audio_model, visual_model = audio_branch(model), visual_branch(model)

    def embed_log_mel(log_mel, n_frames):
        inputs = {"log_mel": log_mel, "n_frames": n_frames}
        return {"embedding": audio_model(inputs, training=False)}

    def embed_waveform(waveform, n_samples):
        log_mel = audio.log_mel(waveform, config, n_samples)
        return embed_log_mel(log_mel, audio.n_frames(n_samples, config))

    def embed_wav(wav):
        waveforms = tf.map_fn(
            lambda content: _decode_wav(content, config.sample_rate),
            wav,
            fn_output_signature=tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0),
        )
        n_samples = tf.cast(waveforms.row_lengths(), tf.int32)
        return embed_waveform(waveforms.to_tensor(), n_samples)

    def embed_visual(*streams):
        windows = [tf.math.l2_normalize(w, axis=-1) for w in streams[::2]]
        masks = [
            tf.sequence_mask(n_steps, tf.shape(window)[1])
            for window, n_steps in zip(windows, streams[1::2], strict=True)
        ]
        pooled = dataset.pool_features(windows, masks)
        return {"embedding": visual_model({"visual": pooled}, training=False)}

    wav = [tf.TensorSpec([None], tf.string, "wav")]
    visual = []
    for name, stream in (("2d", info.features_2d), ("3d", info.features_3d)):
        if stream:
            shape = [None, None, stream.dim]
            visual.append(tf.TensorSpec(shape, tf.float32, f"features_{name}"))
            visual.append(tf.TensorSpec([None], tf.int32, f"n_{name}"))
    functions = {
        "embed_wav": (embed_wav, wav),
        "embed_waveform": (
            embed_waveform,
            [
                tf.TensorSpec([None, None], tf.float32, "waveform"),
                tf.TensorSpec([None], tf.int32, "n_samples"),
            ],
        ),
        "embed_log_mel": (
            embed_log_mel,
            [
                tf.TensorSpec([None, None, config.n_mels], tf.float32, "log_mel"),
                tf.TensorSpec([None], tf.int32, "n_frames"),
            ],
        ),
        "embed_visual": (embed_visual, visual),
    }
    module = tf.Module()
    # The variables alone: the Keras objects around them would ask for Keras to load.
    module.weights = [variable.value for variable in model.variables]
    signatures = {
        name: tf.function(function, input_signature=signature).get_concrete_function()
        for name, (function, signature) in functions.items()
    }
    signatures["serving_default"] = signatures["embed_wav"]
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


def _check(model: keras.Model, info: runs.RunInfo, path: str) -> None:
    """Embeds noise by the export and by the model; they must agree."""
    config = info.model.audio
    random = np.random.default_rng(0)
    n_samples = tf.constant([config.sample_rate, config.sample_rate // 2])
    waveform = random.uniform(-0.5, 0.5, (2, config.sample_rate)).astype(np.float32)
    exported = tf.saved_model.load(path).signatures["embed_waveform"](
        waveform=tf.constant(waveform), n_samples=n_samples
    )["embedding"]
    expected = audio_branch(model)(
        {
            "log_mel": audio.log_mel(waveform, config, n_samples),
            "n_frames": audio.n_frames(n_samples, config),
        },
        training=False,
    )
    if not np.allclose(exported, expected, rtol=1e-3, atol=1e-4):
        worst = float(np.max(np.abs(exported - expected)))
        raise RuntimeError(
            f"{path}: the export's embeddings are off by {worst:.2g}; it is not kept."
        )
