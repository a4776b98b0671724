"""Evaluates a run, or an export of one, on sets of records.

    python -m avl_tf.evaluate --run_dir=runs/demo/es \\
        --evaluate=ro=data/demo/ro/records/eval
    python -m avl_tf.evaluate --export=runs/demo/es/export/1 --evaluate=...

Prints a table and writes the same numbers to recall.json. What is not given by a flag
is as in the run's training.
"""

import tensorflow as tf
from absl import flags

from avl_tf import evaluation, files, program, runs, settings, stage_flags, tables
from avl_tf.dataset import ClipConfig
from avl_tf.training import StageConfig

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Run directory of a trained stage.")
_EXPORT = flags.DEFINE_string("export", None, "Instead: an export, RUN_DIR/export/1.")
_EVALUATE = flags.DEFINE_list(
    "evaluate", None, "Evaluation sets, name=records with commas between."
)
_CLIP_S = flags.DEFINE_float(
    "evaluation_clip_s",
    None,
    "Seconds that clips are padded or cut to (the authors: 51.2 for YouCook2, 30.72 "
    "for MSR-VTT).",
    lower_bound=0.1,
)
_BATCH_SIZE = flags.DEFINE_integer(
    "evaluation_batch_size", None, "Clips embedded at once.", lower_bound=1
)
_REFERENCE = flags.DEFINE_enum(
    "log_mel_reference",
    None,
    ["stored", "clip"],
    "Whose loudest bin is 0 dB: as stored in the records, or each clip's own.",
)
_POPULATION = flags.DEFINE_integer(
    "evaluation_population",
    None,
    "Queries that recall is divided by when clips are missing and count as misses "
    "(MSR-VTT: 1000, of which 968 have sound); 0 is the clips there are.",
    lower_bound=0,
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file for the results; by default RUN_DIR/evaluation/recall.json, or "
    "recall.json here for an export.",
)


def main() -> None:
    if bool(_RUN_DIR.value) == bool(_EXPORT.value):
        raise ValueError("Give either --run_dir or --export.")
    source = _RUN_DIR.value or _EXPORT.value
    sets = evaluation.parse_sets(_EVALUATE.value)
    if _RUN_DIR.value:
        model, info = runs.load_model(source)
        embed = evaluation.embed_function(model)
        settings_dir, output = source, files.join(source, "evaluation", "recall.json")
    else:
        settings_dir, output = files.join(source, "assets.extra"), "recall.json"
        info = runs.read_info(settings_dir)
        embed = _embed_by_export(source)
    stage, clips = _trained_with(settings_dir)
    rows = []
    for name, records in sets.items():
        runs.check_records(info, records, source)
        values = evaluation.evaluate_set(
            embed,
            records,
            _given(_CLIP_S.value, stage.evaluation_clip_s),
            _given(_BATCH_SIZE.value, stage.evaluation_batch_size),
            _given(_REFERENCE.value, clips.log_mel_reference),
            _given(_POPULATION.value, stage.evaluation_population),
        )
        synthetic = " (synthetic)" if records.spec.synthetic else ""
        rows.append({"set": name + synthetic, **values})
    print(tables.markdown(rows, ("set",)))
    found = dict(zip(sets, rows, strict=True))
    files.write_json(_OUTPUT.value or output, {"model": source, "sets": found})


def _embed_by_export(path: str) -> evaluation.EmbedFunction:
    signatures = tf.saved_model.load(path).signatures

    def embed(batch):
        log_mel = {name: batch[name] for name in ("log_mel", "n_frames")}
        return {
            **signatures["log_mel"](**log_mel),
            **signatures["visual"](visual=batch["visual"]),
        }

    return embed


def _trained_with(folder: str) -> tuple[StageConfig, ClipConfig]:
    """The settings of a run's training; the defaults for an imported run."""
    path = files.join(folder, runs.FLAGS)
    if not tf.io.gfile.exists(path):
        return StageConfig(), ClipConfig()
    flag_values = stage_flags.read_flagfile(path)
    return (
        settings.from_flags(StageConfig, flag_values),
        settings.from_flags(ClipConfig, flag_values),
    )


def _given(value, default):
    return default if value is None else value


def cli() -> None:
    flags.mark_flag_as_required("evaluate")
    program.run(main)


if __name__ == "__main__":
    cli()
