"""What avl_tf.evaluate does: models ranked on sets, a table, files of the numbers."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping

import tensorflow as tf
from absl import flags, logging

from avl_tf import evaluation, files, processors, settings, trained
from avl_tf.errors import UserError
from avl_tf.evaluation import comparison, rankings, tables
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.records import RecordSet
from avl_tf.settings.evaluation import EvaluationConfig, ResamplingConfig
from avl_tf.trained import Trained
from avl_tf.training import history


def evaluate(
    flag_values: flags.FlagValues,
    path: str,
    is_export: bool,
    compare: str | None = None,
    log_mel_reference: str | None = None,
    output: str | None = None,
    intervals: bool = False,
) -> None:
    """Evaluates a model, prints the tables and writes the results.

    Args:
        flag_values: the parsed flags of EvaluationConfig and ResamplingConfig; what is
            not given among the first is as in the model's training.
        path: a run directory, or an export.
        is_export: which of both.
        compare: another model, or the ranks of an earlier evaluation (.json).
        log_mel_reference: that of dataset.ClipConfig; None is the training's.
        output: JSON file of the results; None is evaluation/recall.json of a run, or
            recall.json here of an export.
        intervals: print the table with the confidence intervals too.

    Raises:
        ValueError, FileNotFoundError: a model or a set is not there or does not fit.
        OSError: results cannot be written; the tables are printed then.
    """
    given = evaluation.parse_sets(
        settings.from_flags(EvaluationConfig, flag_values).evaluate
    )
    model = trained.look_at_export(path) if is_export else trained.look_at_run(path)
    if not output:
        folder = "" if is_export else files.join(model.path, "evaluation")
        output = files.join(folder, "recall.json")
    other = _open_other(compare) if compare else None
    models = [each for each in (model, other) if isinstance(each, Trained)]
    config = _evaluation_config(models, flag_values)
    sets = given or evaluation.parse_sets(config.evaluate)
    read = [{name: each.as_read(one) for name, one in sets.items()} for each in models]
    if isinstance(other, dict) and (missing := sorted(sets.keys() - other.keys())):
        raise UserError(
            f"{compare}: holds no set '{missing[0]}', only {', '.join(other)}."
        )

    processors.log("evaluation")
    ranked = _rank(model, read[0], config, log_mel_reference)
    unwritten: list[str] = []
    # At once: what took hours is there to be compared with, whatever comes next.
    ranks_path = output.removesuffix(".json") + "_ranks.json"
    with _told_later(ranks_path, unwritten):
        rankings.write(ranks_path, model.path, ranked)
    resampling = settings.from_flags(ResamplingConfig, flag_values)
    labels = {
        name: f"{name} (synthetic)" if records.spec.synthetic else name
        for name, records in sets.items()
    }
    rows = comparison.rows(ranked, labels, resampling)
    print(tables.markdown(rows.values(), ("set",)))
    if intervals:
        print(f"\n{tables.intervals(rows.values())}")
    found_intervals = {name: row.pop("intervals") for name, row in rows.items()}
    results = {
        "model": model.path,
        "sets": rows,
        "settings": {
            **dataclasses.asdict(config),
            "log_mel_reference": log_mel_reference or model.log_mel_reference,
            **dataclasses.asdict(resampling),
        },
        "intervals": found_intervals,
    }
    if compare and other is not None:
        against = (
            other
            if isinstance(other, dict)
            else _rank(other, read[1], config, log_mel_reference)
        )
        found = comparison.differences(ranked, against, resampling)
        names = (model.path, compare)
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


def _evaluation_config(
    models: list[Trained], flag_values: flags.FlagValues
) -> EvaluationConfig:
    """The flags that were given, over the settings that the models were trained with.

    Raises:
        ValueError: there are no sets, or two models were trained with settings that
            give other numbers and no flag says which is meant.
    """
    bases = {model.path: model.evaluation for model in models if model.evaluation}
    configs = {
        path: settings.from_flags(EvaluationConfig, flag_values, base)
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
    model: Trained,
    sets: Mapping[str, RecordSet],
    config: EvaluationConfig,
    log_mel_reference: str | None,
) -> dict[str, RankedSet]:
    if not model.is_export and (note := history.unfinished(model.path)):
        logging.warning("%s: %s.", model.path, note)
    embed = model.load().embed
    reference = log_mel_reference or model.log_mel_reference
    return {
        name: evaluation.rank_set(embed, records, config, reference)
        for name, records in sets.items()
    }
