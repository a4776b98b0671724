"""What the card of an export says of retrieval: recalls of its weights, by set."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from avl_tf import files, metrics, runs
from avl_tf.comma_lists import parse_evaluate
from avl_tf.errors import UserError
from avl_tf.evaluation import caveats, significance, tables
from avl_tf.wording import cell

_VALIDATION = ("val", "valid", "validation", "dev")
_SHOWN = (*(f"R@{k}" for k in metrics.CUTOFFS), "MRR", "MedR")
_NONE = (
    "None is known of these weights: the run was trained without --evaluate, and "
    "avl_tf.evaluate has not ranked a set with them."
)
# The source, the table's rows, and what belongs beside them.
_Found = tuple[str, list[list[str]], list[str]]


def lines(run_dir: str, info: runs.RunInfo, evaluate: tuple[str, ...]) -> list[str]:
    """Lines of Markdown: a table of each set's recalls, and what belongs beside it.

    Those of avl_tf.evaluate, if it has ranked these weights; else those of training.

    Args:
        run_dir: of the run.
        info: with the weights that are exported.
        evaluate: the sets of training, NAME=PATH.
    """
    found = _read(lambda: _evaluated(run_dir, info)) or _read(
        lambda: _trained(run_dir, info, evaluate)
    )
    if not found:
        return [_NONE]
    source, rows, notes = found
    header = ["set", "what it is for", "query", *_SHOWN, "n"]
    return [
        "Recall at k in percent, mean reciprocal rank and median rank of n queries; "
        f"{source}.",
        "",
        *tables.layout(header, rows, 3).splitlines(),
        *(line for note in notes for line in ("", cell(note))),
    ]


def _read(find: Callable[[], _Found | None]) -> _Found | None:
    """What is found in a file; None if it is not there or not as we write it."""
    try:
        return find()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _evaluated(run_dir: str, info: runs.RunInfo) -> _Found | None:
    value = files.read_json(files.join(run_dir, "evaluation", runs.weights.RECALLS))
    if not info.weights or value["weights"] != dataclasses.asdict(info.weights):
        return None
    rows, notes = _rows(value["sets"], info, value["settings"]["evaluate"], value)
    return "95 % bootstrap intervals, from evaluation/recall.json", rows, notes


def _trained(run_dir: str, info: runs.RunInfo, evaluate: tuple[str, ...]) -> _Found:
    value = runs.weights.read_recalls(run_dir)
    step = info.weights and info.weights.step
    *_, entry = (one for one in value["history"] if step is None or one["step"] == step)
    rows, notes = _rows(entry["sets"], info, evaluate, value)
    return "95 % Wilson intervals, from the training's recall.json", rows, notes


def _rows(
    sets: Mapping[str, Mapping],
    info: runs.RunInfo,
    evaluate: Any,
    value: Mapping[str, Any],
) -> tuple[list[list[str]], list[str]]:
    if not sets:
        raise UserError("no set was evaluated")
    rows: list[list[str]] = []
    notes: list[str] = []
    paths = parse_evaluate(evaluate)
    for name, values in sets.items():
        n, intervals = int(values["n"]), value.get("intervals", {}).get(name)
        kind = _kind(name, paths.get(name, {}), info)
        of_set = tables.directions([values])
        by_chance = metrics.chance_beside(values, of_set)
        for direction in of_set:
            shown = [
                _number(f"{direction}/{metric}", values, intervals, n)
                for metric in _SHOWN
            ]
            rows.append([cell(name), kind, metrics.title(direction), *shown, str(n)])
        shown = [_number(f"{of_set[0]}/{each}", by_chance, {}, n) for each in _SHOWN]
        rows.append([cell(name), "chance", "", *shown, str(n)])
        if note := caveats.of_size(name, n):
            notes.append(note)
    for name, shared in value.get("shared", {}).items():
        notes.append(
            f"{name} holds {shared['n_recordings']} recordings that were trained on."
        )
    return rows, notes


def _number(
    key: str,
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]] | None,
    n: int,
) -> str:
    """A metric, with its interval: as given, or of a recall by n. {} is none."""
    digits = ".3f" if key.endswith("MRR") else ".1f"
    shown = format(values[key], digits)
    if intervals is None and "/R@" in key:
        low, high = significance.recall_interval(values[key], n)
    elif intervals:
        low, high = intervals[key]
    else:
        return shown
    return f"{shown} [{low:{digits}}, {high:{digits}}]"


def _kind(name: str, paths: Mapping[str, str], info: runs.RunInfo) -> str:
    if info.weights and info.weights.metric.startswith(f"{name}/"):
        return "validation: chose the weights"
    splits = [path.rstrip("/").rpartition("/")[2] for path in paths.values()]
    return "validation" if set(splits) & set(_VALIDATION) else "evaluation"
