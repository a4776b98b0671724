"""The query side of a model for TFLite: files for phones and small boards.

    query_float.tflite  waveform float32 [1, S] at the model's rate, S of clip_s,
                        padded with anything; n_samples int32 [1]
                        -> audio_embedding float32 [1, D]
    query_int8.tflite   log_mel float32 [1, T, F], n_frames int32 [1]
                        -> audio_embedding; weights and activations of 8 bits inside
    log_mel.tflite      waveform, n_samples -> log_mel, n_frames: what
                        query_int8.tflite takes

The log-mel is not inside of the second: of 8 bits, its 80 dB would be noise. Of several
languages there are query_float_es.tflite and so on. Every operation is TFLite's own.
"""

import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf import dataset, files, overlap, runs, trained
from avl_tf.errors import UserError
from avl_tf.evaluation import clip_lengths
from avl_tf.records import open_records
from avl_tf.serving import plain
from avl_tf.settings import branches

# How far an embedding may be off, in parts of its largest value: of float.
_TOLERANCE = 1e-3
_CALIBRATION_CLIPS = 128
# The one signature of a file.
SIGNATURE = "serving_default"

_Clips = list[dict[str, np.ndarray]]


def write(
    folder: str,
    model: keras.Model,
    info: runs.RunInfo,
    run_dir: str,
    calibration: str = "",
) -> None:
    """Writes the files of each audio branch, and checks them against the model.

    Args:
        folder: where to.
        model: with the weights that are exported.
        info: of the run.
        run_dir: of the run.
        calibration: records of speech, whose clips tell how large activations become;
            "" is the run's training records.

    Raises:
        UserError: there are no such records, or a file does not embed as the model.
    """
    look = trained.look_at_run(run_dir)
    asked = look.evaluation.evaluation_clip_s if look.evaluation else 0
    clip_s = asked or clip_lengths.LONGEST_S
    clips = {
        name: calibration_clips(look, calibration, clip_s, name.partition(":")[2])
        for name in info.model.branches[:-1]
    }
    config = info.model.audio
    width = round(clip_s * config.frame_rate)
    waveform = [
        tf.TensorSpec([1, round(clip_s * config.sample_rate)], tf.float32, "waveform"),
        tf.TensorSpec([1], tf.int32, "n_samples"),
    ]
    log_mel = [
        tf.TensorSpec([1, width, config.n_mels], tf.float32, "log_mel"),
        tf.TensorSpec([1], tf.int32, "n_frames"),
    ]
    variables = [variable.value for variable in model.variables]

    def put(name: str, function: Callable, given: list, clips: _Clips | None = None):
        content = _convert(function, given, variables, clips)
        with tf.io.gfile.GFile(files.join(folder, f"{name}.tflite"), "wb") as out:
            out.write(content)
        return content

    for name in info.model.branches[:-1]:
        suffix = branches.suffix(name)
        functions = plain.of_audio(model, info, name, width)
        found = put(f"query_float{suffix}", functions["waveform"], waveform)
        _check(found, _noise(waveform), functions["waveform"])
        found = put(f"query_int8{suffix}", functions["log_mel"], log_mel, clips[name])
        _tell(found, clips[name], functions["log_mel"], f"query_int8{suffix}.tflite")
    put("log_mel", functions["log_mels"], waveform)


def calibration_clips(
    look: trained.Trained, calibration: str, clip_s: float, language: str = ""
) -> _Clips:
    """Clips of records, as an audio branch hears them.

    Args:
        look: the run.
        calibration: the records, "" for the run's training records.
        clip_s: seconds that clips are padded or cut to.
        language: of the branch, taken of records of several languages.
    """
    found = (
        open_records(calibration)
        if calibration
        else overlap.trained_on.training_set(look.path, look.info, look.path)
    )
    if not found:
        raise UserError(
            f"{look.path}: the records that it was trained on are not there any more, "
            "or have changed. Name records of such speech by --calibration=RECORDS."
        )
    records, suffix = look.as_read(found), ""
    if isinstance(records, dataset.JoinedSet):
        suffix = (
            f":{language if language in records.sets else next(iter(records.sets))}"
        )
    batches = dataset.evaluation_batches(records, clip_s, 1, look.log_mel_reference)
    return [
        {name: batch[f"{name}{suffix}"].numpy() for name in ("log_mel", "n_frames")}
        for batch in batches.take(_CALIBRATION_CLIPS)
    ]


def _noise(given: list[tf.TensorSpec]) -> dict[str, np.ndarray]:
    waveform, n_samples = given
    size = waveform.shape[1]
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (1, size))
    return {
        waveform.name: noise.astype(np.float32),
        n_samples.name: np.array([size - size // 7], np.int32),
    }


def _convert(
    function: Callable,
    given: list[tf.TensorSpec],
    variables: list[tf.Variable],
    clips: _Clips | None,
) -> bytes:
    module = tf.Module()
    module.weights = variables
    concrete = tf.function(function, input_signature=given).get_concrete_function()
    with tempfile.TemporaryDirectory() as scratch:
        tf.saved_model.save(module, scratch, {SIGNATURE: concrete})
        converter = tf.lite.TFLiteConverter.from_saved_model(
            scratch, signature_keys=[SIGNATURE]
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if clips is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                (SIGNATURE, clip) for clip in clips
            )
        return converter.convert()


def runner(content: bytes) -> Callable[..., dict[str, np.ndarray]]:
    """What runs a TFLite file: inputs by name to outputs by name."""
    interpreter = tf.lite.Interpreter(model_content=content)
    return interpreter.get_signature_runner(SIGNATURE)


def _check(content: bytes, given: dict[str, np.ndarray], function: Callable) -> None:
    (found,), (expected,) = (
        runner(content)(**given).values(),
        function(**given).values(),
    )
    off = np.abs(found - expected).max() / np.abs(expected).max()
    if not off <= _TOLERANCE:
        raise UserError(
            f"the TFLite file is off by {off:.2g} of the largest value of the model's "
            "embedding; the export is not kept."
        )


def _tell(content: bytes, clips: _Clips, function: Callable, name: str) -> None:
    """Logs how near to the model's the embeddings of a smaller file are."""
    run, cosines = runner(content), []
    for clip in clips:
        (found,), (expected,) = run(**clip).values(), function(**clip).values()
        norms = np.linalg.norm(found) * np.linalg.norm(expected)
        cosines.append(float(np.sum(found * expected) / norms))
    logging.info(
        "%s: the cosine of its embeddings and the model's is %.4f on average of %d "
        "clips, %.4f at least",
        name,
        np.mean(cosines),
        len(cosines),
        min(cosines),
    )
