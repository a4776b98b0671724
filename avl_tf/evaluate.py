r"""Evaluates a run, or an export of one, on sets of records.

    python -m avl_tf.evaluate --run_dir=runs/demo/ro \
        --evaluate=ro=data/demo/ro/records/eval
    python -m avl_tf.evaluate --run_dir=runs/demo/ro --compare=runs/demo/ro_scratch

Prints a table, writes the same numbers with 95 % confidence intervals to recall.json
and the rank of every clip to recall_ranks.json. --compare adds a table of the
differences to another model, with p values. What is not given by a flag is as in the
run's training. docs/evaluation.md tells what the numbers mean.
"""

from absl import flags

from avl_tf import comma_lists, local_paths, program, settings
from avl_tf.settings.evaluation import EvaluationConfig, ResamplingConfig
from avl_tf.settings.slices import SliceConfig

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Run directory of a trained stage.")
_EXPORT = flags.DEFINE_string("export", None, "Instead: an export, RUN_DIR/export/1.")
_COMPARE = flags.DEFINE_string(
    "compare",
    None,
    "Another run directory or export, to be evaluated in the same way; or the "
    "recall_ranks.json of an earlier evaluation.",
)
_INTERVALS = flags.DEFINE_boolean(
    "intervals", False, "Print every metric with its 95 % confidence interval too."
)
_REFERENCE = flags.DEFINE_enum(
    "log_mel_reference",
    None,
    ["stored", "clip"],
    "Whose loudest bin is 0 dB: as stored in the records, or each clip's own; if left "
    "out as in the run's training.",
)
_WEIGHTS = flags.DEFINE_enum(
    "weights",
    None,
    ["best", "last"],
    "Of a run: the best by its --best_metric, or the last; by default the best if it "
    "keeps them. A model to --compare is taken with the same, if it has them.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file for the results; by default RUN_DIR/evaluation/recall.json, or "
    "recall.json here for an export. The ranks lie beside it as NAME_ranks.json.",
)
_PROJECTOR = flags.DEFINE_string(
    "projector",
    None,
    "Also write the embeddings into this folder as TensorBoard's projector shows them, "
    "such as RUN_DIR/projector; with a --manifest, with key frames of its media.",
)
settings.define_flags(
    EvaluationConfig,
    heading="Evaluation",
    default_is="as in the run's training",
)
settings.define_flags(ResamplingConfig, heading="Intervals and p values")
settings.define_flags(SliceConfig, heading="Slices")
program.require_one("run_dir", "export")


def main() -> None:
    settings.from_flags(SliceConfig)  # checks them, before TensorFlow is imported
    sets = settings.from_flags(EvaluationConfig).evaluate
    named = comma_lists.parse_evaluate(sets)
    local_paths.require_run(_RUN_DIR.value)
    local_paths.require_folder(_EXPORT.value, "not an export of a run")
    if (_COMPARE.value or "").endswith(".json"):
        local_paths.require_file("compare", _COMPARE.value)
    else:
        what = "neither a run directory nor an export of one"
        local_paths.require_folder(_COMPARE.value, what)
    for paths in named.values():
        for path in paths.values():
            local_paths.require_records(path)

    from avl_tf.commands import evaluating

    evaluating.evaluate(
        flags.FLAGS,
        _RUN_DIR.value or _EXPORT.value or "",
        is_export=not _RUN_DIR.value,
        compare=_COMPARE.value,
        log_mel_reference=_REFERENCE.value,
        output=_OUTPUT.value,
        intervals=_INTERVALS.value,
        weights=_WEIGHTS.value or "",
        projector=_PROJECTOR.value or "",
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
