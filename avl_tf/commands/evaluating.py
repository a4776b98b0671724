"""What avl_tf.evaluate does: models ranked on sets, a table, files of the numbers."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags, logging

from avl_tf import evaluation, files, overlap, processors, settings, trained
from avl_tf.commands import projecting, slicing
from avl_tf.commands.slicing import Group, Sliced
from avl_tf.dataset import Records
from avl_tf.errors import UserError
from avl_tf.evaluation import caveats, comparison, rankings, tables
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.settings.evaluation import EvaluationConfig, ResamplingConfig
from avl_tf.settings.slices import SliceConfig
from avl_tf.trained import Trained
from avl_tf.training import history

# By set; by the names of set and slice of each group; of which weights.
_Ranks = tuple[dict[str, RankedSet], list[Sliced], dict | None]


def evaluate(
    flag_values: flags.FlagValues,
    path: str,
    is_export: bool,
    compare: str | None = None,
    log_mel_reference: str | None = None,
    output: str | None = None,
    intervals: bool = False,
    weights: str = "",
    projector: str = "",
) -> None:
    """Evaluates a model, prints the tables and writes the results.

    Args:
        flag_values: the parsed flags of EvaluationConfig, ResamplingConfig and
            SliceConfig; what is not given among the first is as in the model's
            training.
        path: a run directory, or an export.
        is_export: which of both.
        compare: another model, or the ranks of an earlier evaluation (.json).
        log_mel_reference: that of dataset.ClipConfig; None is the training's.
        output: JSON file of the results; None is evaluation/recall.json of a run, or
            recall.json here of an export.
        intervals: print the table with the confidence intervals too.
        weights: "best" or "last", of the other model too if it keeps them; "" for
            those that stand for a run.
        projector: folder for TensorBoard's projector; "" is none.

    Raises:
        ValueError, FileNotFoundError: a model or a set is not there or does not fit.
        OSError: results cannot be written; the tables are printed then.
    """
    look = trained.look_at_export if is_export else trained.look_at_run
    model = look(path, weights)
    given = settings.from_flags(EvaluationConfig, flag_values).evaluate
    opened = evaluation.parse_sets(given, model.join_by)
    if not output:
        folder = "" if is_export else files.join(model.path, "evaluation")
        output = files.join(folder, "recall.json")
    other = _open_other(compare, weights) if compare else None
    models = [each for each in (model, other) if isinstance(each, Trained)]
    config = _evaluation_config(models, flag_values)
    sets = opened or evaluation.parse_sets(config.evaluate, model.join_by)
    read = [{name: each.as_read(one) for name, one in sets.items()} for each in models]
    if isinstance(other, dict) and (missing := sorted(sets.keys() - other.keys())):
        raise UserError(
            f"{compare}: holds no set '{missing[0]}', only {', '.join(other)}."
        )

    if projector:
        model.info.model.require_vectors(model.path)
        projecting.require_free(projector)
    slice_config = settings.from_flags(SliceConfig, flag_values)
    groups = slicing.groups(sets, slice_config, only_all=isinstance(other, dict))
    learnt = [each.learnt() for each in models]
    processors.log("evaluation")
    settled = evaluation.by_set(read[0], config)
    points: dict[str, tuple[EmbeddedSet, np.ndarray]] = {}

    def keep(name: str, embedded: EmbeddedSet) -> None:
        if projector:
            points[name] = projecting.sample(embedded, len(sets))

    ranked, sliced, of_model = _rank(
        model, read[0], settled, log_mel_reference, groups, keep
    )
    unwritten: list[str] = []
    # At once: what took hours is there to be compared with, whatever comes next.
    ranks_path = output.removesuffix(".json") + "_ranks.json"
    with _told_later(ranks_path, unwritten):
        rankings.write(ranks_path, model.path, ranked)
    shared = [
        overlap.tell(of_each, read_sets)
        for of_each, read_sets in zip(learnt, read, strict=True)
    ]
    resampling = settings.from_flags(ResamplingConfig, flag_values)
    labels = {
        name: f"{name} (synthetic)" if records.spec.synthetic else name
        for name, records in sets.items()
    }
    rows = comparison.rows(ranked, labels, resampling)
    both = [
        row
        for name, values in rows.items()
        for row in (values, {**values["chance"], "set": f"{labels[name]}, chance"})
    ]
    print(tables.markdown(both, ("set",)))
    if intervals:
        print(f"\n{tables.intervals(rows.values())}")
    told = {
        group.name: group.tell(of, labels, resampling, intervals)
        for group, of in zip(groups, sliced, strict=True)
    }
    for row in rows.values():
        del row["chance"]
    found_intervals = {name: row.pop("intervals") for name, row in rows.items()}
    results: dict[str, Any] = {
        "model": model.path,
        "weights": of_model,
        "clip_s": {name: of_set.clip_s for name, of_set in ranked.items()},
        "sets": rows,
        "settings": {
            **dataclasses.asdict(config),
            "log_mel_reference": log_mel_reference or model.log_mel_reference,
            **dataclasses.asdict(resampling),
        },
        "intervals": found_intervals,
    }
    if groups:
        results["slices"] = told
        results["settings"] |= dataclasses.asdict(slice_config)
    if shared[0]:
        results["shared"] = shared[0]
    if compare and other is not None:
        against, others, of_other = (
            _rank_again(ranked, other, groups)
            if isinstance(other, dict)
            else _rank(other, read[1], settled, log_mel_reference, groups)
        )
        found = comparison.differences(ranked, against, resampling)
        names = (model.path, compare)
        print(f"\n{comparison.table(names, ranked, labels, found, resampling)}")
        results["comparison"] = {
            **comparison.to_json(names, found),
            "weights": {"a": of_model, "b": of_other},
        }
        for group, *both_sliced in zip(groups, sliced, others, strict=True):
            text, value = slicing.compare(names, both_sliced, labels, resampling)
            print(f"\n{group.heading} {text}")
            results["comparison"][group.name] = value
    with _told_later(output, unwritten):
        files.write_json(output, results)
    if projector:
        with _told_later(projector, unwritten):
            projecting.write(projector, points, read[0], slice_config.manifests())
    if unwritten:
        raise OSError(
            f"cannot be written: {', '.join(unwritten)}. What is printed above is "
            "whole; name another place for the files by --output."
        )
    logging.info("Written: %s and %s.", output, ranks_path)
    if projector:
        logging.info("Points: tensorboard --logdir=%s", projector)


@contextlib.contextmanager
def _told_later(path: str, unwritten: list[str]) -> Iterator[None]:
    """Lets a file that cannot be written wait until the table is printed."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        unwritten.append(f"{path} ({files.reason(error)})")


def _open_other(path: str, weights: str) -> Trained | dict[str, RankedSet]:
    if path.endswith(".json"):
        return rankings.read(path)
    try:
        return trained.look(path, weights)
    except UserError as error:
        other = trained.look(path)
        logging.warning("%s Those that stand for it are compared.", error)
        return other


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
    sets: Mapping[str, Records],
    settled: Mapping[str, EvaluationConfig],
    log_mel_reference: str | None,
    groups: Sequence[Group],
    keep: Callable[[str, EmbeddedSet], None] = lambda name, embedded: None,
) -> _Ranks:
    """Ranks by set, those of each group's slices, and which weights these are of.

    The weights are as recall.json has them.
    """
    if not model.is_export and (note := history.unfinished(model.path)):
        logging.warning("%s: %s.", model.path, note)
    embedder = model.load()
    found = embedder.weights
    if found and found.metric and found.n:
        if note := caveats.of_metric(found.metric, found.n):
            logging.warning("%s: %s", model.path, note)
    reference = log_mel_reference or model.log_mel_reference
    ranked: dict[str, RankedSet] = {}
    sliced: list[Sliced] = [{} for _ in groups]
    for name, embedded in embedder.embed_sets(sets, settled, reference):
        ranked[name] = embedded.ranked()
        keep(name, embedded)
        for group, of_group in zip(groups, sliced, strict=True):
            of_group |= group.ranked(name, ranked[name], embedded)
    return ranked, sliced, dataclasses.asdict(found) if found else None


def _rank_again(
    ranked: Mapping[str, RankedSet],
    other: Mapping[str, RankedSet],
    groups: Sequence[Group],
) -> _Ranks:
    """As _rank, of ranks that were written; in the order of those of the model."""
    matched = {
        name: dataclasses.replace(one, ranks=rankings.matched(one, other[name], name))
        for name, one in ranked.items()
    }
    sliced: list[Sliced] = [{} for _ in groups]
    for group, of_group in zip(groups, sliced, strict=True):
        for name, one in matched.items():
            of_group |= group.ranked(name, one)
    return matched, sliced, None
