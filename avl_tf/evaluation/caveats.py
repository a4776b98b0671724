"""What belongs beside an evaluation: too few clips, a metric that cannot tell.

Each gives a sentence, "" where there is nothing to say.
"""

from avl_tf import metrics
from avl_tf.evaluation import significance

# A recall whose 95 % interval may be wider cannot tell models apart that lie as close
# as neighbouring rows of the papers' tables: below 93 queries.
_WIDEST_POINTS = 20.0


def of_size(name: str, n: int) -> str:
    """Says that a set is too small to tell models apart.

    Args:
        name: of the set.
        n: its queries.
    """
    width = significance.widest_interval(n)
    if width <= _WIDEST_POINTS:
        return ""
    full = [f"R@{k}" for k in metrics.CUTOFFS if k >= n]
    by_chance = ""
    if full:
        verb = "are" if len(full) > 1 else "is"
        by_chance = f"; {' and '.join(full)} {verb} 100 for any model"
    elif 2 * metrics.CUTOFFS[-1] >= n:
        k = metrics.CUTOFFS[-1]
        by_chance = f"; R@{k} is {100 * k / n:.0f} by chance"
    return (
        f"{name}: n = {n} is too small to tell models apart: the 95 % interval of a "
        f"recall is up to {width:.0f} points wide{by_chance}."
    )


def of_metric(metric: str, n: int) -> str:
    """Says that a metric cannot tell which evaluation is the best, and names a better.

    Args:
        metric: SET/METRIC, of --best_metric.
        n: the queries of its set.
    """
    start, _, name = metric.rpartition("/")
    if n == 1:
        return (
            f"--best_metric={metric} cannot tell which evaluation is the best: one "
            "clip is first among one for any model. Choose on a set of more."
        )
    width = significance.widest_interval(n)
    k = int(name.partition("@")[2] or 0)
    if name == "MRR" or width <= _WIDEST_POINTS and 2 * k < n:
        return ""
    if not k:
        why = "a median moves in half ranks"
    elif k >= n:
        why = "it is 100 for any model"
    elif 2 * k >= n:
        why = f"it is {100 * k / n:.0f} by chance"
    else:
        why = (
            f"it moves in steps of {100 / n:.1f} points, and its 95 % interval is up "
            f"to {width:.0f} points wide"
        )
    return (
        f"--best_metric={metric} can hardly tell which evaluation is the best: of n = "
        f"{n}, {why}. --best_metric={start}/MRR counts every rank."
    )
