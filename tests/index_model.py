"""A tiny model, its untrained run and its records, for the tests of an index."""

import dataclasses

import corpus

from avl_tf import training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.settings.stage import StageConfig

SMALL = {"audio_widths": (8, 8, 16), "embedding_dim": 16, "visual_scale": 20.0}
EVALUATED_S, TRAINED_S = 4.0, 2.0


def make_run(folder, reference="stored", evaluated_s=EVALUATED_S, **spec):
    """Returns the paths of a run directory and of its records."""
    records = corpus.make_set(str(folder / "records"), 3, n_shards=1, **spec)
    stage = StageConfig(records=records, epochs=0, batch_size=2)
    base = training.base_model_config(stage, None)
    clips = ClipConfig(
        clip_s=TRAINED_S, clips_per_recording=4, log_mel_reference=reference
    )
    evaluated = EvaluationConfig((f"x={records}",), evaluation_clip_s=evaluated_s)
    config = dataclasses.replace(base, **SMALL)
    run_dir = str(folder / "run")
    training.train_stage(run_dir, stage, clips, evaluated, config)
    return run_dir, records
