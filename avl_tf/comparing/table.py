"""The papers' table of systems: recall of each, mean and deviation over its seeds."""

from collections.abc import Mapping, Sequence

from avl_tf import metrics
from avl_tf.comparing import seeds
from avl_tf.evaluation import tables
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.settings.evaluation import ResamplingConfig
from avl_tf.wording import counted

LIMIT = 0.05


def of_set(
    systems: Mapping[str, Sequence[RankedSet]], resampling: ResamplingConfig
) -> str:
    """A row for chance and one for each system on one evaluation set, as Markdown.

    The best of a column is bold if the paired test of seeds.p_values tells it from the
    next: p below LIMIT, divided by the number of the others (Bonferroni), for the best
    could have been any.

    Args:
        systems: by name, in the order of the rows: the ranks of each seed.
        resampling: of the test.
    """
    first = next(iter(systems.values()))[0]
    columns = [(d, k) for d in first.ranks for k in metrics.CUTOFFS]
    texts: dict[str, list[str]] = {name: [] for name in systems}
    for direction, k in columns:
        key = f"{direction}/R@{k}"
        found = {
            name: seeds.mean_and_deviation([one.metrics()[key] for one in ranked])
            for name, ranked in systems.items()
        }
        best = ""
        if level := _best_and_next({name: mean for name, (mean, _) in found.items()}):
            a, b = (systems[name] for name in level)
            p = seeds.p_values(a, b, k, resampling)[direction]
            best = level[0] if p < _limit(len(systems)) else ""
        for name, (mean, deviation) in found.items():
            text = f"{mean:.1f}"
            if deviation is not None:
                text += f" ± {deviation:.1f}"
            mark = "**" if name == best else ""
            texts[name].append(f"{mark}{text}{mark}")
    chance = first.chance()
    of_chance = [f"{chance[f'{d}/R@{k}']:.1f}" for d, k in columns]
    n = str(first.n_queries)
    cells = [["chance", *of_chance, n]]
    cells += [[name, *row, n] for name, row in texts.items()]
    titles = [f"{metrics.title(d)} R@{k}" for d, k in columns]
    return tables.layout(["system", *titles, "n"], cells, 1)


def explanation(
    n_systems: int, numbers: Sequence[int], resampling: ResamplingConfig
) -> str:
    """What stands below such tables.

    Args:
        n_systems: rows of each.
        numbers: the seeds.
        resampling: as for of_set.
    """
    over = "mean ± standard deviation over the seeds" if len(numbers) > 1 else "of seed"
    text = f"Recall in percent, {over} {', '.join(map(str, numbers))}; n: clips."
    if n_systems < 2:
        return text
    others = counted(n_systems - 1, "other system")
    return (
        f"{text} Bold: the best of its column, if a two-sided paired randomisation "
        "test over the clips tells it from the next (seeds in pairs, a clip swapped "
        f"for all of them at once): p < {LIMIT} / {n_systems - 1} = "
        f"{_limit(n_systems):.2g}, "
        f"Bonferroni, for {others}, each column by itself; {resampling.resamples} "
        f"resamples, seed {resampling.resampling_seed}. p tells of other clips, ± of "
        "other trainings."
    )


def _best_and_next(means: Mapping[str, float]) -> tuple[str, str] | None:
    """The two best; None if they are level, or there is only one."""
    first, *others = sorted(means, key=lambda name: -means[name])
    if not others or means[first] - means[others[0]] < 1e-9:
        return None
    return first, others[0]


def _limit(n_systems: int) -> float:
    return LIMIT / max(1, n_systems - 1)
