r"""Evaluates a run, or an export of one, on sets of records.

    python -m avl_tf.evaluate --run_dir=runs/demo/ro \
        --evaluate=ro=data/demo/ro/records/eval
    python -m avl_tf.evaluate --run_dir=runs/demo/ro --compare=runs/demo/ro_scratch

Prints a table, writes the same numbers with 95 % confidence intervals to recall.json
and the rank of every clip to recall_ranks.json. --compare adds a table of the
differences to another model, with p values. What is not given by a flag is as in the
run's training. docs/evaluation.md tells what the numbers mean.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

import tensorflow as tf
from absl import flags, logging

from avl_tf import evaluation, files, processors, program, settings, trained
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig, comparison, rankings, tables
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.evaluation.significance import ResamplingConfig
from avl_tf.records import RecordSet
from avl_tf.trained import Trained
from avl_tf.training import history

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
    "Whose loudest bin is 0 dB: as stored in the records, or each clip's own.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file for the results; by default RUN_DIR/evaluation/recall.json, or "
    "recall.json here for an export. The ranks lie beside it as NAME_ranks.json.",
)
settings.define_flags(EvaluationConfig)
settings.define_flags(ResamplingConfig)


def main() -> None:
    given = evaluation.parse_sets(settings.from_flags(EvaluationConfig).evaluate)
    if _RUN_DIR.value and not _EXPORT.value:
        model = trained.look_at_run(_RUN_DIR.value)
        output = files.join(model.path, "evaluation", "recall.json")
    elif _EXPORT.value and not _RUN_DIR.value:
        model, output = trained.look_at_export(_EXPORT.value), "recall.json"
    else:
        raise UserError("Give either --run_dir or --export.")
    output = _OUTPUT.value or output
    other = _open_other(_COMPARE.value) if _COMPARE.value else None
    models = [each for each in (model, other) if isinstance(each, Trained)]
    config = _evaluation_config(models)
    sets = given or evaluation.parse_sets(config.evaluate)
    read = [{name: each.as_read(one) for name, one in sets.items()} for each in models]
    if isinstance(other, dict) and (missing := sorted(sets.keys() - other.keys())):
        raise UserError(
            f"{_COMPARE.value}: holds no set '{missing[0]}', only {', '.join(other)}."
        )

    processors.log("evaluation")
    ranked = _rank(model, read[0], config)
    unwritten: list[str] = []
    # At once: what took hours is there to be compared with, whatever comes next.
    path = output.removesuffix(".json") + "_ranks.json"
    with _told_later(path, unwritten):
        rankings.write(path, model.path, ranked)
    resampling = settings.from_flags(ResamplingConfig)
    labels = {
        name: f"{name} (synthetic)" if records.spec.synthetic else name
        for name, records in sets.items()
    }
    rows = comparison.rows(ranked, labels, resampling)
    print(tables.markdown(rows.values(), ("set",)))
    if _INTERVALS.value:
        print(f"\n{tables.intervals(rows.values())}")
    intervals = {name: row.pop("intervals") for name, row in rows.items()}
    results = {
        "model": model.path,
        "sets": rows,
        "settings": {
            **dataclasses.asdict(config),
            "log_mel_reference": _reference(model),
            **dataclasses.asdict(resampling),
        },
        "intervals": intervals,
    }
    if _COMPARE.value and other is not None:
        against = other if isinstance(other, dict) else _rank(other, read[1], config)
        found = comparison.differences(ranked, against, resampling)
        names = (model.path, _COMPARE.value)
        print(f"\n{comparison.table(names, ranked, labels, found, resampling)}")
        results["comparison"] = comparison.to_json(names, found)
    with _told_later(output, unwritten):
        files.write_json(output, results)
    if unwritten:
        raise OSError(
            f"cannot be written: {', '.join(unwritten)}. What is printed above is "
            "whole; name another place for the files by --output."
        )


@contextlib.contextmanager
def _told_later(path: str, unwritten: list[str]) -> Iterator[None]:
    """Lets a file that cannot be written wait until the table is printed."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        unwritten.append(f"{path} ({files.reason(error)})")


def _open_other(path: str) -> Trained | dict[str, RankedSet]:
    return rankings.read(path) if path.endswith(".json") else trained.look(path)


def _evaluation_config(models: list[Trained]) -> EvaluationConfig:
    """The flags that were given, over the settings that the models were trained with.

    Raises:
        ValueError: there are no sets, or two models were trained with settings that
            give other numbers and no flag says which is meant.
    """
    bases = {model.path: model.evaluation for model in models if model.evaluation}
    configs = {
        path: settings.from_flags(EvaluationConfig, base=base)
        for path, base in (bases or {"": EvaluationConfig()}).items()
    }
    comparison.require_same(configs)
    config = next(iter(configs.values()))
    if not config.evaluate:
        raise UserError(
            "--evaluate is missing, and the run was trained without: name the "
            "evaluation sets, name=records with commas between."
        )
    return config


def _rank(
    model: Trained, sets: Mapping[str, RecordSet], config: EvaluationConfig
) -> dict[str, RankedSet]:
    if not model.is_export and (note := history.unfinished(model.path)):
        logging.warning("%s: %s.", model.path, note)
    embed = model.load().embed
    return {
        name: evaluation.rank_set(embed, records, config, _reference(model))
        for name, records in sets.items()
    }


def _reference(model: Trained) -> str:
    return _REFERENCE.value or model.log_mel_reference


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
