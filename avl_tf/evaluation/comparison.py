"""Models held against each other on the same evaluation sets."""

import dataclasses
from collections.abc import Mapping, Sequence

from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig, rankings, significance, tables
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.evaluation.significance import Difference, ResamplingConfig

# Settings of an evaluation that change its numbers.
_DECISIVE = ("evaluation_clip_s", "evaluation_population")


def require_same(configs: Mapping[str, EvaluationConfig]) -> None:
    """Makes sure that models, by their names, are evaluated in the same way.

    Raises:
        ValueError: two of them would give numbers of two kinds; says which setting.
    """
    first, *others = configs
    for other in others:
        for name in _DECISIVE:
            ours, theirs = (getattr(configs[model], name) for model in (first, other))
            if ours != theirs:
                raise UserError(
                    f"{first} was trained with --{name}={ours}, {other} with {theirs}. "
                    f"Give --{name} to say which."
                )


def rows(
    ranked: Mapping[str, RankedSet],
    labels: Mapping[str, str],
    resampling: ResamplingConfig,
) -> dict[str, dict]:
    """The metrics of one model on each set.

    Beside them "set", its label, "intervals" and "chance", both by the metrics' keys.
    """
    return {
        name: {
            "set": labels[name],
            **of_set.metrics(),
            "chance": of_set.chance(),
            "intervals": significance.confidence_intervals(
                of_set.ranks, resampling, of_set.n_queries
            ),
        }
        for name, of_set in ranked.items()
    }


def differences(
    ranked: Mapping[str, RankedSet],
    other: Mapping[str, RankedSet],
    resampling: ResamplingConfig,
) -> dict[str, dict[str, Difference]]:
    """Tests every metric of two models on each set; other may hold more sets.

    Raises:
        ValueError: as rankings.matched.
    """
    return {
        name: significance.compare(
            of_set.ranks,
            rankings.matched(of_set, other[name], name),
            resampling,
            of_set.n_queries,
        )
        for name, of_set in ranked.items()
    }


def table(
    models: Sequence[str],
    ranked: Mapping[str, RankedSet],
    labels: Mapping[str, str],
    found: Mapping[str, dict[str, Difference]],
    resampling: ResamplingConfig,
) -> str:
    """The table of the differences of models A and B, under a line that explains it."""
    lines = [
        {
            "set": labels[name],
            "n": of_set.n_queries,
            "chance": of_set.chance(),
            "differences": found[name],
        }
        for name, of_set in ranked.items()
    ]
    return (
        f"A: {models[0]}. B: {models[1]}. Differences with 95 % intervals by a paired "
        "bootstrap over the clips, p by a two-sided paired randomisation test; "
        f"{resampling.resamples} resamples, seed {resampling.resampling_seed}.\n\n"
        f"{tables.comparison(lines)}"
    )


def to_json(models: Sequence[str], found: Mapping[str, dict[str, Difference]]) -> dict:
    """What recall.json holds of a comparison."""
    return {
        "a": models[0],
        "b": models[1],
        "sets": {
            name: {key: dataclasses.asdict(one) for key, one in of_set.items()}
            for name, of_set in found.items()
        },
    }
