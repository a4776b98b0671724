"""Exports a run as a SavedModel.

    python -m avl_tf.export --run_dir=runs/demo/ro

Writes RUN_DIR/export/1, then 2, 3, ...; avl_tf/serving lists its signatures. Its
assets.extra/card.md is the model card. Of a cascade's folder, the stages that are not
exported yet are, or all with one of the options below, and models.config is written,
for TensorFlow Serving.
"""

from absl import flags

from avl_tf import local_paths, program

_RUN_DIR = flags.DEFINE_string(
    "run_dir",
    None,
    "Run directory of a trained stage, or folder of a cascade.",
    required=True,
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["best", "last"],
    "The best by --best_metric, or the last; by default the best if it keeps them.",
)
_LICENCE = flags.DEFINE_string(
    "licence", "", "Licence of the training data and so of the weights, for the card."
)
_WITH_BACKBONE = flags.DEFINE_boolean(
    "with_backbone",
    False,
    "Put the CNN of the features into the export, and a signature 'frames' that takes "
    "raw frames.",
)
_WEIGHTS_2D = flags.DEFINE_string(
    "weights_2d", "", "File of that CNN's weights, if it has none of its own."
)
_TFLITE = flags.DEFINE_boolean(
    "tflite",
    False,
    "Write the query side for TFLite beside it: query_float.tflite, from a waveform, "
    "query_int8.tflite, from a log-mel, and log_mel.tflite.",
)
_CALIBRATION = flags.DEFINE_string(
    "calibration",
    "",
    "Records whose clips query_int8.tflite is calibrated on; by default the run's "
    "training records.",
)
_ONNX = flags.DEFINE_boolean(
    "onnx",
    False,
    "Write onnx/SIGNATURE.onnx beside it: waveform, log_mel, visual and features or "
    "image (needs pip install 'avl_tf[onnx]').",
)


def main() -> None:
    run_dir = _RUN_DIR.value
    local_paths.require_no_export(run_dir)
    is_cascade = local_paths.holds_runs(run_dir)
    if not is_cascade:
        local_paths.require_run(run_dir)
    local_paths.require_records(_CALIBRATION.value)

    from avl_tf import serving

    export = serving.export_cascade if is_cascade else serving.export
    written = export(
        run_dir,
        weights=_WEIGHTS.value or "",
        licence=_LICENCE.value,
        with_backbone=_WITH_BACKBONE.value,
        weights_2d=_WEIGHTS_2D.value,
        tflite=_TFLITE.value,
        calibration=_CALIBRATION.value,
        onnx=_ONNX.value,
    )
    print(written if isinstance(written, str) else "\n".join(written))


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
