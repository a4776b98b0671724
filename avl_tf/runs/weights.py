"""The weights of a run: those kept as its best, or its last, and where they are from.

Beside each other in a run directory lie best/ (one checkpoint, with --best_metric) and
checkpoints/ (the newest ones, of which the last counts).
"""

import dataclasses
import re

import tensorflow as tf
from absl import logging

from avl_tf import checkpoint_files, fields, files
from avl_tf.errors import UserError

BEST, LAST = KINDS = ("best", "last")
FLAGS, RECALLS = "flags.txt", "recall.json"
_RECALLS_CHECK = fields.record(
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


@dataclasses.dataclass(frozen=True)
class Weights:
    """Where in a training a model's weights are from.

    kind: BEST or LAST. step, epoch: steps and whole epochs taken before; None is
    unknown, as of an imported run. of_epochs: the last that was evaluated. metric: the
    --best_metric that chose them, "" of the last ones; n: the queries of its set.
    """

    kind: str
    step: int | None = None
    epoch: int | None = None
    of_epochs: int | None = None
    metric: str = ""
    n: int | None = None

    def __str__(self) -> str:
        why = f"the best {self.metric}".rstrip() if self.kind == BEST else "the last"
        if self.step is None:
            return why
        if self.epoch is None:
            return f"step {self.step}, {why}"
        of = f" of {self.of_epochs}" if self.of_epochs else ""
        return f"epoch {self.epoch}{of} (step {self.step}), {why}"


_NUMBER = fields.nullable(fields.whole(0))
CHECK = fields.record(
    {
        "kind": fields.choice(*KINDS),
        "step": _NUMBER,
        "epoch": _NUMBER,
        "of_epochs": _NUMBER,
        "metric": fields.text(empty=True),
        "n": _NUMBER,
    }
)


def checkpoint_prefix(run_dir: str) -> str:
    """The folder of a run's checkpoints."""
    return files.join(run_dir, "checkpoints")


def best_prefix(run_dir: str) -> str:
    """The folder of the checkpoint that is kept by --best_metric."""
    return files.join(run_dir, BEST)


def find(run_dir: str, kind: str = "") -> tuple[str, Weights]:
    """Finds a checkpoint of a run.

    Args:
        run_dir: a run directory.
        kind: BEST, LAST, or "" for what stands for the run: the best if it keeps one.

    Returns:
        The checkpoint, and where it is from.

    Raises:
        FileNotFoundError: there is no checkpoint yet.
        ValueError: there is none of this kind, or the list of them is damaged.
    """
    if kind not in ("", *KINDS):
        raise UserError(f"weights={kind}: expected one of {', '.join(KINDS)}.")
    best = checkpoint_files.newest(best_prefix(run_dir))
    last = checkpoint_files.newest(checkpoint_prefix(run_dir))
    if not (best or last):
        raise FileNotFoundError(
            f"{run_dir}: no checkpoint yet. Run avl_tf.train with this --run_dir again."
        )
    if kind == BEST and not best:
        raise UserError(
            f"{run_dir} was trained without --best_metric, so it keeps no best "
            "weights. Leave --weights out, or say last."
        )
    if kind == LAST and not last:
        raise UserError(
            f"{run_dir}: its checkpoints/ are gone, and with them the last weights. "
            "Leave --weights out, or say best."
        )
    if best and kind != LAST:
        return best, _of_checkpoint(run_dir, BEST, best)
    return last or "", _of_checkpoint(run_dir, LAST, last or "")


def _of_checkpoint(run_dir: str, kind: str, path: str) -> Weights:
    flags_path = files.join(run_dir, FLAGS)
    named = re.fullmatch(r"ckpt-(\d+)", path.rpartition("/")[2])
    if not named or not tf.io.gfile.exists(flags_path):
        return Weights(kind)  # of an imported run, whose steps were taken elsewhere
    step, metric, n = int(named[1]), "", None
    if kind == BEST:
        with tf.io.gfile.GFile(flags_path) as stream:
            metric = flag_values(stream.read()).get("--best_metric", "")
    try:
        entries = read_recalls(run_dir)["history"]
        counted = [(each["step"], each["epoch"]) for each in entries]
        if metric:
            n = int(entries[-1]["sets"][metric.partition("/")[0]]["n"])
        an_epoch = next((steps // epochs for steps, epochs in counted if epochs), None)
        of_epochs = counted[-1][1]
    except (OSError, UserError, KeyError, IndexError, TypeError):
        # It is told elsewhere that recall.json is lost.
        return Weights(kind, step, 0 if step == 0 else None, None, metric)
    epoch = step // an_epoch if an_epoch else 0 if step == 0 else None
    return Weights(kind, step, epoch, of_epochs, metric, n)


def read_recalls(run_dir: str) -> dict:
    """Reads recall.json, the evaluations of a training.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is damaged.
    """
    path = files.join(run_dir, RECALLS)
    value = files.read_json(path)
    try:
        _RECALLS_CHECK(value, "")
    except UserError as error:
        raise UserError(
            f"{path}: not the history of a training ({error}). Put the file back, or "
            "delete the run directory to train anew."
        ) from None
    return value


def flag_values(flags_text: str) -> dict[str, str]:
    """The lines of a flags.txt by the names of the flags, --epochs and so on."""
    lines = [line for line in flags_text.splitlines() if "=" in line]
    return dict(line.split("=", 1) for line in lines)


def tell(path: str, weights: Weights, parent: str | None) -> None:
    """Logs which weights of a run or an export are taken; warns of untrained ones.

    Args:
        path: of the run or the export.
        weights: those taken.
        parent: the run's parent.
    """
    if note := warning(path, weights, parent):
        logging.warning("%s", note)
    elif weights.step is not None:
        logging.info("%s: its weights are of %s", path, weights)


def warning(path: str, weights: Weights, parent: str | None) -> str:
    """Says that weights are those of before the first step; "" of others. As tell."""
    if weights.step != 0:
        return ""
    start = f"those of {parent}, unchanged" if parent else "untrained"
    why = "it has taken no step"
    if weights.kind == BEST and weights.of_epochs != 0:
        why = (
            f"no later evaluation had as good a {weights.metric or 'metric'}. "
            "--weights=last takes the last ones"
        )
    return f"{path}: its weights are of epoch 0 ({start}): {why}."
