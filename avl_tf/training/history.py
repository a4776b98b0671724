"""The evaluations of a stage: recall.json, which of them is the best, when to stop."""

from collections.abc import Collection

import tensorflow as tf

from avl_tf import checkpoint_files, fields, files, metrics, runs, settings
from avl_tf.errors import UserError
from avl_tf.evaluation import tables
from avl_tf.settings.stage import StageConfig

_FILE = "recall.json"
_CHECK = fields.record(
    {
        "history": fields.items(
            fields.record(
                {
                    "step": fields.whole(0),
                    "sets": fields.mapping(fields.mapping(fields.number())),
                },
                others=True,
            )
        )
    },
    others=True,
)


class History:
    """Evaluations in order: {"step", "epoch", "sets": {name: metrics}}.

    The first is from before the first step. Best and end follow from the entries alone,
    so that a resumed run takes the same decisions.
    """

    def __init__(
        self,
        run_dir: str,
        best_metric: str,
        set_names: Collection[str],
        directions: Collection[str],
    ):
        """Begins an empty history of evaluations in directions (metrics.direction).

        Raises:
            ValueError: best_metric names no set or no metric.
        """
        self.entries: list[dict] = []
        self._path = files.join(run_dir, _FILE)
        self._set, self._keys = _parse_metric(best_metric, set_names, directions)

    def read(self, step: int) -> None:
        """Reads the evaluations up to a step, from which the training goes on.

        Raises:
            ValueError: the evaluation before the first step is not there.
        """
        entries = []
        if tf.io.gfile.exists(self._path):
            written = _read(self._path)["history"]
            entries = [one for one in written if one["step"] <= step]
        self.entries = entries
        if not self.entries or self.entries[0]["step"]:
            raise UserError(
                f"{self._path}: the evaluation before the first step is lost. Put the "
                "file back, or delete the run directory to train anew."
            )

    def write(self) -> None:
        """Writes recall.json."""
        files.write_json(self._path, self.to_json())

    def to_json(self) -> dict:
        """The entries, and which of them is of the model that stands for the run."""
        best, last = self.best, len(self.entries) - 1
        return {"history": self.entries, "stands": last if best is None else best}

    @property
    def best(self) -> int | None:
        """Index of the best evaluation, the first of equals; None without a metric."""
        if not self._set or not self.entries:
            return None
        values = [self._value(entry) for entry in self.entries]
        return values.index(max(values))

    def is_over(self, patience: int) -> bool:
        """Whether the last `patience` evaluations were no better than one before."""
        best = self.best
        if not patience or best is None:
            return False
        return len(self.entries) - 1 - best >= patience

    def _value(self, entry: dict) -> float:
        found = [entry["sets"][self._set][key] for key in self._keys]
        lower_is_better = self._keys[0].endswith("MedR")
        return sum(found) * (-1 if lower_is_better else 1)


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
        recalls = files.read_json(files.join(run_dir, _FILE))["history"][0]["sets"]
        directions = tables.directions(recalls.values())
        history = History(run_dir, stage.best_metric, recalls, directions)
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
    path = files.join(run_dir, _FILE)
    if not tf.io.gfile.exists(path):
        raise FileNotFoundError(f"{run_dir}: no evaluation yet (no {_FILE} in it).")
    found = _read(path)
    try:
        entries, stands = found["history"], found["stands"]
        entries[stands]
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path}: not the history of a training.") from error
    return entries, stands


def _read(path: str) -> dict:
    """Reads a recall.json; UserError if it is no history."""
    value = files.read_json(path)
    try:
        _CHECK(value, "")
    except UserError as error:
        raise UserError(
            f"{path}: not the history of a training ({error}). Put the file back, or "
            "delete the run directory to train anew."
        ) from None
    return value


def _parse_metric(
    text: str, set_names: Collection[str], directions: Collection[str]
) -> tuple[str, list[str]]:
    """SET/METRIC as (set, keys), the keys of all directions if none is named."""
    if not text:
        return "", []
    set_name, _, metric = text.partition("/")
    known = metrics.keys(directions)
    of_all = [f"{direction}/{metric}" for direction in directions]
    keys = [metric] if metric in known else of_all
    if set_name not in set_names or not set(keys) <= set(known):
        raise UserError(
            f"--best_metric={text}: expected SET/METRIC with a SET of --evaluate "
            f"({', '.join(set_names) or 'there is none'}) and a METRIC such as R@10 or "
            f"{known[0]}."
        )
    return set_name, keys
