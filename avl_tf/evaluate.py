"""Evaluates a run on sets of records.

    python -m avl_tf.evaluate --run_dir=runs/demo/es --evaluation_clip_s=6 \\
        --evaluate=ro=data/demo/ro/records/eval

Prints a table; --output writes the same numbers as JSON.
"""

from absl import flags

from avl_tf import evaluation, files, program, runs, tables

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Run directory of a trained stage.")
_EVALUATE = flags.DEFINE_list(
    "evaluate", None, "Evaluation sets, name=records with commas between."
)
_CLIP_S = flags.DEFINE_float(
    "evaluation_clip_s",
    51.2,
    "Seconds that clips are padded or cut to (the authors: 51.2 for YouCook2, 30.72 "
    "for MSR-VTT).",
    lower_bound=0.1,
)
_BATCH_SIZE = flags.DEFINE_integer(
    "evaluation_batch_size", 64, "Clips embedded at once.", lower_bound=1
)
_REFERENCE = flags.DEFINE_enum(
    "log_mel_reference",
    "stored",
    ["stored", "clip"],
    "Whose loudest bin is 0 dB: as stored in the records, or each clip's own.",
)
_POPULATION = flags.DEFINE_integer(
    "evaluation_population",
    0,
    "Queries that recall is divided by when clips are missing and count as misses "
    "(MSR-VTT: 1000, of which 968 have sound); 0 is the clips there are.",
    lower_bound=0,
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the results, if wanted.")


def main() -> None:
    sets = evaluation.parse_sets(_EVALUATE.value)
    model, info = runs.load_model(_RUN_DIR.value)
    embed = evaluation.embed_function(model)
    rows = []
    for name, records in sets.items():
        runs.check_records(info, records, _RUN_DIR.value)
        values = evaluation.evaluate_set(
            embed,
            records,
            _CLIP_S.value,
            _BATCH_SIZE.value,
            _REFERENCE.value,
            _POPULATION.value,
        )
        synthetic = " (synthetic)" if records.spec.synthetic else ""
        rows.append({"set": name + synthetic, **values})
    print(tables.markdown(rows, ("set",)))
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, {"run_dir": _RUN_DIR.value, "rows": rows})


def cli() -> None:
    flags.mark_flags_as_required(["run_dir", "evaluate"])
    program.run(main)


if __name__ == "__main__":
    cli()
