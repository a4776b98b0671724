"""The SavedModel of a run: from waveforms, log-mels or features to embeddings.

It holds no custom op and needs no Python of ours: plain TensorFlow, TensorFlow Serving
and hub.load read it. Its signatures:
    waveform    waveform float32 [B, S] at the model's rate, n_samples int32 [B]
    wav_bytes   wav_bytes string [B]: WAV files as serving/wav.py lists them, of a rate
                from 4 to 384 kHz, up to an hour long, of any number of channels; also
                the default signature (of several languages, of the first)
    log_mel     log_mel float32 [B, T, F], n_frames int32 [B]
                each -> audio_embedding float32 [B, D]; of several languages there
                are three each, as in wav_bytes_es
    log_mel_steps  as log_mel -> beside it audio_steps float32 [B, T', D], the
                embedding of each audio step; n_steps int32 [B], how many of them
                hold audio; step_frames int32 [], the log-mel frames of a step
    visual      visual float32 [B, Dv], pooled as dataset.pool_features does
    features    a recording's features, one vector a time step: features_2d float32
                [B, K2, D2], n_2d int32 [B], and features_3d, n_3d if the model has
                them; L2-normalised and pooled here
    frames      only with the CNN inside (with_backbone): frames uint8 [B, K, H, W, 3],
                RGB, of any size, at the rate of features_2d (1 a second), n_frames
                int32 [B]
or, of a model with an image encoder, in place of visual and features,
    image       image uint8 [B, 224, 224, 3], RGB
    image_bytes image_bytes string [B]: JPEG or PNG files of up to 89 million pixels;
                scaled and cut as in evaluation, not turned as their EXIF may say
                each -> visual_embedding float32 [B, D]
Beside the embedding each gives valid bool [B] and reason string [B]. An item that
cannot be embedded (no WAV file, a damaged image, a number that is not finite, a length
that is not from 1 to the array's) is not valid, has zeros for an embedding and says
why; the others of its batch are what they are without it. Arrays of unlike numbers of
items are an InvalidArgumentError.
The similarity of two embeddings is their dot product. As in the authors' code, padding
reaches up to 4.2 s into a clip: one embedded beside longer clips differs from one
embedded alone.
"""

from typing import Any

import keras
import tensorflow as tf
from absl import logging

from avl_tf import files, runs
from avl_tf.backbones import Backbone
from avl_tf.errors import UserError
from avl_tf.model import by_branch
from avl_tf.serving import (
    card,
    checking,
    frames,
    models_config,
    onnx_files,
    signatures,
    tflite_files,
    versions,
)
from avl_tf.serving.versions import folder as folder
from avl_tf.serving.versions import newest as newest
from avl_tf.settings import branches
from avl_tf.trained import identity

# A full disk, a folder that is not writable, memory that does not suffice.
_OF_MACHINES = (
    OSError,
    tf.errors.ResourceExhaustedError,
    tf.errors.PermissionDeniedError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnavailableError,
    tf.errors.OutOfRangeError,  # a limit on the size of files
    tf.errors.UnknownError,
)


def export(
    run_dir: str,
    weights: str = "",
    licence: str = "",
    with_backbone: bool = False,
    weights_2d: str = "",
    tflite: bool = False,
    calibration: str = "",
    onnx: bool = False,
) -> str:
    """Exports a run's model to the next RUN_DIR/export/N and checks the export.

    The folder's assets.extra/ holds run.json, which says whose weights these are, and
    flags.txt, for avl_tf.evaluate; card.md, the model card; and golden.npz, what the
    model makes of a made input, which avl_tf.load checks.

    Args:
        run_dir: of the run.
        weights: "best", "last", or "" for those that stand for the run.
        licence: of the training data, for the card.
        with_backbone: with the CNN of the features and the signature frames.
        weights_2d: file of the CNN's weights, "" for its own.
        tflite: write the query side beside it; see serving/tflite_files.py.
        calibration: records for that, "" the run's training records.
        onnx: write onnx/SIGNATURE.onnx beside it; see serving/onnx_files.py.

    Returns:
        The folder written.

    Raises:
        ValueError: the export, loaded by a process that has only TensorFlow, does not
            embed as the model does, or it cannot be written. It is not kept. Or the
            model does not see by one 2D CNN that can be loaded.
        RuntimeError: such a process cannot use it at all, which is a defect of ours.
    """
    runs.read_info(run_dir).model.require_vectors(run_dir)
    model, info = runs.load_model(run_dir, weights)
    backbone = frames.backbone(info, weights_2d) if with_backbone else None
    try:
        with versions.temporary_folder(run_dir) as temporary:
            concrete = _write(model, info, temporary, backbone)
            extra = files.join(temporary, "assets.extra")
            runs.copy_settings(run_dir, info, extra)
            checking.check(model, info, temporary, backbone)
            made = identity.golden_inputs(info)
            embedded = by_branch(model(made, training=False))
            golden = identity.golden_pair(made, embedded)
            identity.write_golden(extra, golden)
            told = card.text(run_dir, model, info, concrete, golden, licence)
            files.write_text(files.join(extra, card.NAME), told)
            if tflite:
                tflite_files.write(temporary, model, info, run_dir, calibration)
            if onnx:
                onnx_files.write(files.join(temporary, "onnx"), model, info)
            final = versions.keep(temporary, run_dir)
    except _OF_MACHINES as error:
        # TensorFlow names its temporary file first.
        why = files.reason(error).rpartition("; ")[2]
        raise UserError(
            f"{run_dir}: the export cannot be made ({why}); nothing of it is kept."
        ) from error
    if files.is_pattern(final):
        logging.warning(
            "%s: TensorFlow itself loads no SavedModel from under a name with *, ?, [ "
            "or \\. Copy it elsewhere to serve it.",
            final,
        )
    return final


def export_once(run_dir: str) -> None:
    """Exports a run that has no export, if its model gives vectors; as export."""
    model = runs.read_info(run_dir).model
    if model.has_maps:
        kind = model.similarity
        logging.warning("%s: not exported, with --similarity=%s.", run_dir, kind)
    elif not tf.io.gfile.exists(folder(run_dir)):
        logging.info("exported %s", export(run_dir))


def export_cascade(cascade_dir: str, **options: Any) -> list[str]:
    """Exports the stages of a cascade, and writes its models.config.

    Args:
        cascade_dir: the folder that holds their run directories.
        options: of export; without any, a stage that has an export stays as it is.

    Returns:
        The folders written, and last the file.

    Raises:
        As export.
    """
    given = any(options.values())
    written = [
        export(path, **options)
        for path in models_config.stages(cascade_dir)
        if given or not tf.io.gfile.exists(folder(path))
    ]
    return [*written, models_config.write(cascade_dir)]


def _write(
    model: keras.Model, info: runs.RunInfo, path: str, backbone: Backbone | None
) -> dict[str, Any]:
    """Writes the SavedModel; returns its signatures, concrete functions by name."""
    heard = info.model.branches[:-1]
    functions: dict[str, signatures.Signature] = {}
    for name in heard:
        functions |= signatures.of_audio(model, info, name)
    if info.model.image_encoder:
        functions |= signatures.of_images(model)
    else:
        functions |= signatures.of_features(model, info)
    if backbone:
        functions |= frames.of_frames(model, backbone, info.model.visual_pooling)
    module = tf.Module()
    # The variables alone: the Keras objects around them would ask for Keras to load.
    module.weights = [variable.value for variable in model.variables]
    # Without AutoGraph, for which there is nothing to convert, in half the time.
    concrete = {
        name: tf.function(
            function, input_signature=given, autograph=False
        ).get_concrete_function()
        for name, (function, given) in functions.items()
    }
    if backbone:
        module.backbone = list(concrete["frames"].variables)
    concrete["serving_default"] = concrete[f"wav_bytes{branches.suffix(heard[0])}"]
    tf.saved_model.save(module, path, concrete)
    return concrete
