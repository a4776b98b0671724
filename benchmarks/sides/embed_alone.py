"""Imports TensorFlow and embeds the sets of a run: the least an evaluation does.

    python -m benchmarks.sides.embed_alone '["runs/demo/ro", ""]'

The run and the sets, as --evaluate ("": as in its training), or a folder and what to
make there: the settings of recordings.write and of ModelConfig. It prints the CPU time
of the import as JSON. It repeats nothing: its process is what is measured.
"""

import json
import os
import sys
import time

import tensorflow  # noqa: F401

IMPORT_S = time.process_time()


def main(path: str, *given) -> None:
    if len(given) == 2:
        _make(path, *given)
    else:
        _embed(path, *given)
    print(json.dumps({"import_s": IMPORT_S}))


def _embed(run_dir: str, sets: str) -> None:
    from avl_tf import evaluation, trained
    from avl_tf.settings.evaluation import EvaluationConfig

    model = trained.look_at_run(run_dir)
    config = model.evaluation or EvaluationConfig()
    named = sets.split(",") if sets else config.evaluate
    read = {
        name: model.as_read(records)
        for name, records in evaluation.parse_sets(named, model.join_by).items()
    }
    settled = evaluation.by_set(read, config)
    for _ in model.load().embed_sets(read, settled, model.log_mel_reference):
        pass


def _make(folder: str, made: dict, model: dict) -> None:
    from avl_tf.model import ModelConfig, build_model
    from benchmarks import made_run, recordings

    recordings.write(folder, **made)
    config = ModelConfig(visual_dims=(made["dim"],) * 2, **model)
    made_run.write(os.path.join(folder, "run"), build_model(config), config)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
