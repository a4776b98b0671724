"""The evaluations of a stage: recall.json, which of them is the best, when to stop."""

from collections.abc import Collection, Mapping

import tensorflow as tf

from avl_tf import checkpoint_files, files, metrics, runs, settings
from avl_tf.errors import UserError
from avl_tf.evaluation import tables
from avl_tf.settings.stage import StageConfig


class History:
    """Evaluations in order: {"step", "epoch", "sets": {name: metrics}}.

    The first is from before the first step. Of equals the later one is the best: where
    a metric cannot tell, training is believed in. To wait for (patience) it is none the
    better. Both follow from the entries alone, so that a resumed run takes the same
    decisions; one that an earlier version began keeps the best that this had kept, the
    first of equals, until there is another as good.
    """

    def __init__(
        self,
        run_dir: str,
        best_metric: str,
        directions: Mapping[str, Collection[str]],
    ):
        """Begins an empty history of evaluations.

        directions: by the name of a set, its metrics.direction's.

        Raises:
            ValueError: best_metric names no set or no metric.
        """
        self.entries: list[dict] = []
        self.shared: dict[str, dict] = {}
        self._run_dir = run_dir
        self._path = files.join(run_dir, runs.weights.RECALLS)
        self._kept: int | None = None
        self._n_read = 0
        self._set, self._keys = _parse_metric(best_metric, directions)

    def read(self, step: int) -> None:
        """Reads the evaluations up to a step, from which the training goes on.

        Raises:
            ValueError: the evaluation before the first step is not there.
        """
        entries, self._kept = [], None
        if tf.io.gfile.exists(self._path):
            written = runs.weights.read_recalls(self._run_dir)
            entries = [one for one in written["history"] if one["step"] <= step]
            stands = written.get("stands")
            if isinstance(stands, int) and 0 <= stands < len(entries):
                self._kept = stands
        self.entries, self._n_read = entries, len(entries)
        if not self.entries or self.entries[0]["step"]:
            raise UserError(
                f"{self._path}: the evaluation before the first step is lost. Put the "
                "file back, or delete the run directory to train anew."
            )

    def write(self) -> None:
        """Writes recall.json."""
        files.write_json(self._path, self.to_json())

    def to_json(self) -> dict:
        """The entries, which of them stands for the run, and sets that were seen."""
        best, last = self.best, len(self.entries) - 1
        found = {"history": self.entries, "stands": last if best is None else best}
        return found | ({"shared": self.shared} if self.shared else {})

    @property
    def best(self) -> int | None:
        """Index of the best evaluation, the last of equals; None without a metric."""
        best = self._equals()
        if not best:
            return None
        # See the class: what an earlier version kept of equals.
        kept = self._kept in best and best[-1] < self._n_read
        return self._kept if kept else best[-1]

    def is_over(self, patience: int) -> bool:
        """Whether the last `patience` evaluations were no better than one before."""
        best = self._equals()
        if not patience or not best:
            return False
        return len(self.entries) - 1 - best[0] >= patience

    def _equals(self) -> list[int]:
        """Indices of the evaluations than which none is better."""
        if not self._set:
            return []
        values = [self._value(entry) for entry in self.entries]
        highest = max(values, default=0.0)
        return [at for at, value in enumerate(values) if value == highest]

    def _value(self, entry: dict) -> float:
        found = [entry["sets"][self._set][key] for key in self._keys]
        lower_is_better = self._keys[0].endswith("MedR")
        # Sums that are equal on paper differ in their last bits.
        return round(sum(found) * (-1 if lower_is_better else 1), 9)


def unfinished(run_dir: str) -> str:
    """Says how far a training has come that has not ended, "" of one that has.

    An imported run, which was never trained here, is at its end too.
    """
    path = files.join(run_dir, runs.FLAGS)
    newest = checkpoint_files.newest(runs.checkpoint_prefix(run_dir))
    if not newest or not tf.io.gfile.exists(path):
        return ""
    with files.local_copy(path) as local:
        given = settings.read_flagfile(local, StageConfig, others=True, name=path)
    stage = settings.from_flags(StageConfig, given)
    step = int(newest.rpartition("-")[2])
    try:
        recalls = runs.weights.read_recalls(run_dir)["history"][0]["sets"]
        directions = {k: tables.directions([v]) for k, v in recalls.items()}
        history = History(run_dir, stage.best_metric, directions)
        history.read(step)
        last = history.entries[-1]
        at_end = last["step"] == step and last["epoch"] >= stage.epochs
        if at_end or history.is_over(stage.patience):
            return ""
    except (OSError, UserError, KeyError, IndexError, TypeError):
        return "how far its training went is lost, with its recall.json"
    return (
        f"its training has not ended: step {step}, with {last['epoch']} of "
        f"{stage.epochs} epochs evaluated"
    )


def read_finished(run_dir: str) -> tuple[list[dict], int]:
    """Reads the evaluations of a run, and the index of the one that stands for it.

    Raises:
        FileNotFoundError: nothing was evaluated yet.
        ValueError: the file is damaged.
    """
    path = files.join(run_dir, runs.weights.RECALLS)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(
            f"{run_dir}: no evaluation yet (no {runs.weights.RECALLS} in it)."
        )
    found = runs.weights.read_recalls(run_dir)
    try:
        entries, stands = found["history"], found["stands"]
        entries[stands]
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path}: not the history of a training.") from error
    return entries, stands


def _parse_metric(
    text: str, directions: Mapping[str, Collection[str]]
) -> tuple[str, list[str]]:
    """SET/METRIC as (set, keys), the keys of all directions if none is named."""
    if not text:
        return "", []
    set_name, _, metric = text.partition("/")
    of_set = directions.get(set_name, metrics.DIRECTIONS)
    known = metrics.keys(of_set)
    of_all = [f"{direction}/{metric}" for direction in of_set]
    keys = [metric] if metric in known else of_all
    if set_name not in directions or not set(keys) <= set(known):
        raise UserError(
            f"--best_metric={text}: expected SET/METRIC with a SET of --evaluate "
            f"({', '.join(directions) or 'there is none'}) and a METRIC such as MRR or "
            f"{known[0]}."
        )
    return set_name, keys
