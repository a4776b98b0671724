"""Studies: settings in groups, the best of each marked, the others tested against it.

Ranks in, plain numbers out; study_tables writes them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from avl_tf import metrics
from avl_tf.comparing import seeds
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.settings.evaluation import ResamplingConfig

# Of a setting, by stage and evaluation set: the ranks of each seed that is finished.
Ranked = Mapping[tuple[str, str], Mapping[int, RankedSet]]


@dataclasses.dataclass(frozen=True)
class Column:
    """A recall at k: of which stage, on which set, in which direction."""

    stage: str
    set_name: str
    direction: str
    k: int

    @property
    def key(self) -> str:
        """Of the metric, such as a2v/R@10."""
        return f"{self.direction}/R@{self.k}"

    @property
    def title(self) -> str:
        """The metric as tables call it, such as A->V R@10."""
        return f"{metrics.title(self.direction)} R@{self.k}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A setting in a column, in percent.

    Attributes:
        mean: over the seeds.
        deviation: standard deviation (n - 1) over the seeds; None of one.
        interval: 95 %, over the clips.
        is_best: no other of the study is above it.
        p: of the paired test against the best, times the number of the others of the
            study (Bonferroni), at most 1; None of the best.
        n_seeds: that are finished.
    """

    mean: float
    deviation: float | None
    interval: tuple[float, float]
    is_best: bool
    p: float | None
    n_seeds: int


@dataclasses.dataclass(frozen=True)
class Row:
    """A setting in a study; None stands for what is not finished from any seed."""

    study: str
    setting: str
    cells: tuple[Cell | None, ...]


def grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """The settings of each study: STUDY/NAME are its own, a plain NAME is in each."""
    studies = dict.fromkeys(name.rpartition("/")[0] for name in names)
    if len(studies) > 1:
        studies.pop("", None)
    return {
        study: [name for name in names if name.rpartition("/")[0] in ("", study)]
        for study in studies
    }


def rows(
    ranked: Mapping[str, Ranked],
    columns: Sequence[Column],
    config: ResamplingConfig,
) -> list[Row]:
    """The rows of all studies, in the order of the settings.

    Args:
        ranked: by setting.
        columns: of the table.
        config: of the test and the intervals.
    """
    tests = _Tests(ranked, config)
    found = []
    for study, names in grouped(list(ranked)).items():
        cells = [tests.column(names, column) for column in columns]
        for at, name in enumerate(names):
            row = tuple(column[at] for column in cells)
            found.append(Row(study, name.rpartition("/")[2], row))
    return found


class _Tests:
    """Cells, each number computed once: a setting may be in several studies."""

    def __init__(self, ranked: Mapping[str, Ranked], config: ResamplingConfig):
        self._ranked, self._config = ranked, config
        self._intervals: dict[tuple[str, Column], tuple[float, float]] = {}
        self._p: dict[tuple, dict[str, float]] = {}

    def column(self, names: Sequence[str], column: Column) -> list[Cell | None]:
        """The cells of a study's settings in a column."""
        values = {
            name: [one.metrics()[column.key] for one in of_seed.values()]
            for name in names
            if (of_seed := self._of(name, column))
        }
        means = {name: seeds.mean_and_deviation(v)[0] for name, v in values.items()}
        highest = max(means.values(), default=0.0)
        level = [name for name, mean in means.items() if mean > highest - 1e-9]
        cells: list[Cell | None] = []
        for name in names:
            if name not in values:
                cells.append(None)
                continue
            is_best, p = name in level, None
            if not is_best:
                p = self._test(level[0], name, column) * (len(means) - 1)
            cells.append(
                Cell(
                    *seeds.mean_and_deviation(values[name]),
                    self._interval(name, column),
                    is_best and len(means) > 1,
                    None if p is None else min(1.0, p),
                    len(values[name]),
                )
            )
        return cells

    def _of(self, name: str, column: Column) -> Mapping[int, RankedSet]:
        return self._ranked[name].get((column.stage, column.set_name), {})

    def _interval(self, name: str, column: Column) -> tuple[float, float]:
        if (name, column) not in self._intervals:
            ranked = list(self._of(name, column).values())
            self._intervals[name, column] = seeds.clip_interval(
                ranked, column.direction, column.k, self._config
            )
        return self._intervals[name, column]

    def _test(self, best: str, other: str, column: Column) -> float:
        """p over the seeds that both have; 1 if there is none."""
        a, b = self._of(best, column), self._of(other, column)
        both = [seed for seed in a if seed in b]
        if not both:
            return 1.0
        key = best, other, column.stage, column.set_name, column.k
        if key not in self._p:
            self._p[key] = seeds.p_values(
                [a[seed] for seed in both],
                [b[seed] for seed in both],
                column.k,
                self._config,
            )
        return self._p[key][column.direction]
