"""The signatures of an export: functions from what a caller has to embeddings.

avl_tf/serving lists them.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from avl_tf import audio, dataset, images, runs
from avl_tf.model import audio_steps, branch
from avl_tf.serving import faults, image_files, wav, wav_samples
from avl_tf.settings import branches

Signature = tuple[Callable, list[tf.TensorSpec]]


def of_audio(model: keras.Model, info: runs.RunInfo, name: str) -> dict[str, Signature]:
    """The signatures of an audio branch, with what each takes."""
    config, audio_model = info.model.audio, branch(model, name)
    in_steps = audio_steps.build(model, name)
    suffix = branches.suffix(name)

    def embed_heard(log_mel, n_frames, reason):
        inputs = faults.with_an_item(log_mel, n_frames)
        embedding = audio_model(inputs, training=False)[: tf.size(reason)]
        return faults.answer("audio_embedding", embedding, reason)

    def embed_samples(waveform, n_samples, reason):
        log_mel = audio.log_mel(waveform, config, n_samples)
        return embed_heard(log_mel, audio.n_frames(n_samples, config), reason)

    def embed_log_mel(log_mel, n_frames):
        log_mel, n_frames = faults.of_one_batch(log_mel=log_mel, n_frames=n_frames)
        reason = faults.of_lengths(log_mel, "n_frames", n_frames)
        return embed_heard(*faults.emptied(log_mel, n_frames, reason), reason)

    def embed_steps(log_mel, n_frames):
        log_mel, n_frames = faults.of_one_batch(log_mel=log_mel, n_frames=n_frames)
        reason = faults.of_lengths(log_mel, "n_frames", n_frames)
        inputs = faults.with_an_item(*faults.emptied(log_mel, n_frames, reason))
        found = in_steps(inputs)
        step_frames = found.pop("step_frames")
        found = {key: value[: tf.size(reason)] for key, value in found.items()}
        given = faults.answer("audio_embedding", found["audio_embedding"], reason)
        good = tf.equal(reason, "")
        good &= tf.reduce_all(tf.math.is_finite(found["audio_embedding"]), axis=1)
        steps = tf.where(good[:, tf.newaxis, tf.newaxis], found["audio_steps"], 0.0)
        n_steps = tf.where(good, found["n_steps"], 0)
        told = {"n_steps": n_steps, "step_frames": step_frames}
        return {**given, "audio_steps": steps, **told}

    def embed_waveform(waveform, n_samples):
        waveform, n_samples = faults.of_one_batch(
            waveform=waveform, n_samples=n_samples
        )
        reason = faults.of_lengths(waveform, "n_samples", n_samples)
        waveform, n_samples = faults.emptied(waveform, n_samples, reason)
        inside = tf.sequence_mask(n_samples, tf.shape(waveform)[1])
        waveform = wav_samples.limited(tf.where(inside, waveform, 0.0))
        return embed_samples(waveform, n_samples, reason)

    def embed_wav(wav_bytes):
        waveforms, reason = tf.map_fn(
            lambda content: wav.decode(content, config.sample_rate),
            wav_bytes,
            fn_output_signature=(
                tf.RaggedTensorSpec([None], tf.float32, ragged_rank=0),
                tf.TensorSpec([], tf.string),
            ),
        )
        n_samples = tf.cast(waveforms.row_lengths(), tf.int32)
        return embed_samples(waveforms.to_tensor(), n_samples, reason)

    heard = [
        _spec("log_mel", None, None, config.n_mels),
        _spec("n_frames", None, dtype=tf.int32),
    ]
    return {
        f"waveform{suffix}": (
            embed_waveform,
            [_spec("waveform", None, None), _spec("n_samples", None, dtype=tf.int32)],
        ),
        f"wav_bytes{suffix}": (embed_wav, [_spec("wav_bytes", None, dtype=tf.string)]),
        f"log_mel{suffix}": (embed_log_mel, heard),
        f"log_mel_steps{suffix}": (embed_steps, heard),
    }


def of_features(model: keras.Model, info: runs.RunInfo) -> dict[str, Signature]:
    """visual and features, for a model of frozen features."""
    visual_model = branch(model, "visual")

    def embed_seen(visual, reason):
        embedding = visual_model({"visual": visual}, training=False)
        return faults.answer("visual_embedding", embedding, reason)

    def embed_visual(visual):
        return embed_seen(visual, faults.of_numbers(visual))

    def embed_features(*arrays):
        names = [spec.name for spec in given]
        streams = faults.of_one_batch(**dict(zip(names, arrays, strict=True)))
        reason, windows, masks = tf.constant(""), [], []
        for index in range(0, len(streams), 2):
            window, n_steps = streams[index : index + 2]
            squares = tf.reduce_sum(tf.square(window), axis=-1)
            found = faults.of_lengths(squares, names[index + 1], n_steps)
            window, n_steps = faults.emptied(window, n_steps, found)
            windows.append(tf.math.l2_normalize(window, axis=-1))
            masks.append(tf.sequence_mask(n_steps, tf.shape(window)[1]))
            reason = faults.first_reason((reason != "", reason), (found != "", found))
        pooled = dataset.pool_features(windows, masks, info.model.visual_pooling)
        return embed_seen(tf.where(reason[:, tf.newaxis] == "", pooled, 0.0), reason)

    given = []
    for name, stream in (("2d", info.features_2d), ("3d", info.features_3d)):
        if stream:
            given.append(_spec(f"features_{name}", None, None, stream.dim))
            given.append(_spec(f"n_{name}", None, dtype=tf.int32))
    width = sum(info.model.visual_dims)
    return {
        "visual": (embed_visual, [_spec("visual", None, width)]),
        "features": (embed_features, given),
    }


def of_images(model: keras.Model) -> dict[str, Signature]:
    """image and image_bytes, for a model with an image encoder."""
    visual_model = branch(model, "visual")

    def embed_image(image):
        return embed_seen(image, tf.fill(tf.shape(image)[:1], ""))

    def embed_bytes(image_bytes):
        return embed_seen(*image_files.decode(image_bytes))

    def embed_seen(image, reason):
        embedding = visual_model({"image": image}, training=False)
        return faults.answer("visual_embedding", embedding, reason)

    crop = _spec("image", None, images.SIDE, images.SIDE, 3, dtype=tf.uint8)
    return {
        "image": (embed_image, [crop]),
        "image_bytes": (embed_bytes, [_spec("image_bytes", None, dtype=tf.string)]),
    }


def _spec(name, *shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name)
