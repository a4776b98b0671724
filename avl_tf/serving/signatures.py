"""The signatures of an export: functions from what a caller has to embeddings.

avl_tf/serving lists them.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from avl_tf import audio, dataset, images, runs
from avl_tf.model import branch

Signature = tuple[Callable, list[tf.TensorSpec]]


def of_audio(model: keras.Model, info: runs.RunInfo) -> dict[str, Signature]:
    """waveform, wav_bytes and log_mel, with what each takes."""
    config, audio_model = info.model.audio, branch(model, "audio")

    def embed_log_mel(log_mel, n_frames):
        inputs = {"log_mel": log_mel, "n_frames": n_frames}
        return {"audio_embedding": audio_model(inputs, training=False)}

    def embed_waveform(waveform, n_samples):
        log_mel = audio.log_mel(waveform, config, n_samples)
        return embed_log_mel(log_mel, audio.n_frames(n_samples, config))

    def embed_wav(wav_bytes):
        waveforms = tf.map_fn(
            lambda content: decode_wav(content, config.sample_rate),
            wav_bytes,
            fn_output_signature=tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0),
        )
        n_samples = tf.cast(waveforms.row_lengths(), tf.int32)
        return embed_waveform(waveforms.to_tensor(), n_samples)

    return {
        "waveform": (
            embed_waveform,
            [_spec("waveform", None, None), _spec("n_samples", None, dtype=tf.int32)],
        ),
        "wav_bytes": (embed_wav, [_spec("wav_bytes", None, dtype=tf.string)]),
        "log_mel": (
            embed_log_mel,
            [
                _spec("log_mel", None, None, config.n_mels),
                _spec("n_frames", None, dtype=tf.int32),
            ],
        ),
    }


def of_features(model: keras.Model, info: runs.RunInfo) -> dict[str, Signature]:
    """visual and features, for a model of frozen features."""
    visual_model = branch(model, "visual")

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

    streams = []
    for name, stream in (("2d", info.features_2d), ("3d", info.features_3d)):
        if stream:
            streams.append(_spec(f"features_{name}", None, None, stream.dim))
            streams.append(_spec(f"n_{name}", None, dtype=tf.int32))
    width = sum(info.model.visual_dims)
    return {
        "visual": (embed_visual, [_spec("visual", None, width)]),
        "features": (embed_features, streams),
    }


def of_images(model: keras.Model) -> dict[str, Signature]:
    """image and image_bytes, for a model with an image encoder."""
    visual_model = branch(model, "visual")

    def embed_image(image):
        inputs = {"image": image}
        return {"visual_embedding": visual_model(inputs, training=False)}

    def embed_bytes(image_bytes):
        crops = tf.map_fn(
            lambda content: images.centre_crop(images.decode(content)),
            image_bytes,
            fn_output_signature=tf.TensorSpec((images.SIDE, images.SIDE, 3), tf.uint8),
        )
        return embed_image(crops)

    crop = _spec("image", None, images.SIDE, images.SIDE, 3, dtype=tf.uint8)
    return {
        "image": (embed_image, [crop]),
        "image_bytes": (embed_bytes, [_spec("image_bytes", None, dtype=tf.string)]),
    }


def _spec(name, *shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name)


def decode_wav(content: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """WAV bytes to a mono waveform float32 [S] at sample_rate."""
    channels, rate = tf.audio.decode_wav(content)
    waveform = tf.reduce_mean(channels, axis=1)
    return tf.cond(
        rate == sample_rate,
        lambda: waveform,
        lambda: audio.resample(waveform, rate, sample_rate),
    )
