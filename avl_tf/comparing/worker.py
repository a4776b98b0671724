"""A process that trains one run after another; see running.

A task is a line of JSON on standard input, its answer one on standard output: what is
wrong, "" if nothing. What is logged meanwhile goes into the task's log.
"""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator

import keras
import tensorflow as tf
from absl import flags, logging

from avl_tf import (
    evaluation,
    files,
    offspring,
    program,
    serving,
    settings,
    trained,
    training,
)
from avl_tf.comparing.trainings import Training
from avl_tf.evaluation import rankings
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.settings.evaluation import EvaluationConfig

# In a run directory.
RANKS = "evaluation/ranks.json"
FINISHED = "evaluation/finished.json"


def train(
    run_dir: str,
    arguments: list[str],
    parent: str,
    digest: str,
    log: str,
    export: bool = False,
) -> None:
    """Trains a run and ranks its evaluation sets; see running for what is kept.

    Args:
        run_dir: made, or gone on with.
        arguments: as of avl_tf.train.
        parent: run directory of the stage whose weights it starts from, or "".
        digest: for the note that it is finished.
        log: not used here.
        export: exports it too, if it has no export.
    """
    flag_values = Training(run_dir, "", tuple(arguments), ()).flag_values()
    kept: list[dict[str, RankedSet]] = []
    result = training.train_flags(flag_values, run_dir, parent or None, kept.append)
    stands = result["history"][result["stands"]]["sets"]
    if stands:
        ranked = _found(kept, stands) or _rank(run_dir, flag_values)
        rankings.write(files.join(run_dir, RANKS), run_dir, ranked)
    if export:
        serving.export_once(run_dir)
    files.write_json(files.join(run_dir, FINISHED), {"digest": digest})


def _found(
    kept: list[dict[str, RankedSet]], stands: dict[str, dict]
) -> dict[str, RankedSet] | None:
    """The ranks of the evaluation that stands for a run; None if it was another's."""
    for ranked in reversed(kept):
        if {name: one.metrics() for name, one in ranked.items()} == stands:
            return ranked
    return None


def _rank(run_dir: str, flag_values: flags.FlagValues) -> dict[str, RankedSet]:
    """Ranks the evaluation sets of a run that was evaluated by an earlier process."""
    config = settings.from_flags(EvaluationConfig, flag_values)
    model = trained.look_at_run(run_dir)
    sets = {
        name: model.as_read(records)
        for name, records in evaluation.parse_sets(config.evaluate).items()
    }
    settled = evaluation.by_set(sets, config, told=False)
    embedded = model.load().embed_sets(sets, settled, model.log_mel_reference)
    return {name: each.ranked() for name, each in embedded}


def _attempt(task: dict) -> str:
    """Does a task; what is wrong in one line."""
    try:
        with _output_into(task["log"]):
            try:
                train(**task)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:
        if told := program.told(error):
            return told
        return f"{type(error).__name__}, a defect: {task['log']} shows where"
    finally:
        keras.utils.clear_session()
    return ""


@contextlib.contextmanager
def _output_into(path: str) -> Iterator[None]:
    """Lets standard output and error of this process be the end of a file."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for descriptor, copy in enumerate(kept, 1):
            os.dup2(copy, descriptor)
        for descriptor in (log, *kept):
            os.close(descriptor)


def main(parent: int, n_threads: int) -> None:
    """Does the tasks of standard input, with so many threads an operation."""
    offspring.end_with_parent()
    if os.getppid() != parent:
        return  # it had died before
    answers = os.fdopen(os.dup(1), "w")
    flags.FLAGS(sys.argv[:1])
    logging.use_absl_handler()
    program.quiet_log()
    tf.config.threading.set_intra_op_parallelism_threads(n_threads)
    for line in sys.stdin:
        print(json.dumps(_attempt(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
