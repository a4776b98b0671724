"""A tiny model, its untrained run and its records, for the tests of an index."""

import dataclasses

import corpus
import numpy as np

from avl_tf import training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.records import FeatureSpec
from avl_tf.settings.stage import StageConfig

SMALL = {"audio_widths": (8, 8, 16), "embedding_dim": 16, "visual_scale": 20.0}
EVALUATED_S, TRAINED_S = 4.0, 2.0


def make_run(
    folder, reference="stored", evaluated_s=EVALUATED_S, records=None, seed=0, **spec
):
    """Returns the paths of a run directory and of its records."""
    records = records or corpus.make_set(str(folder / "records"), 3, n_shards=1, **spec)
    stage = StageConfig(records=records, epochs=0, batch_size=2, seed=seed)
    base = training.base_model_config(stage, None)
    clips = ClipConfig(
        clip_s=TRAINED_S, clips_per_recording=4, log_mel_reference=reference
    )
    evaluated = EvaluationConfig((f"x={records}",), evaluation_clip_s=evaluated_s)
    config = dataclasses.replace(base, **SMALL)
    run_dir = str(folder / "run")
    training.train_stage(run_dir, stage, clips, evaluated, config)
    return run_dir, records


def make_records_of_media(folder):
    """Records that a model of EfficientNet's features can be trained on."""
    random = np.random.default_rng(0)
    made = [
        corpus.make_record(
            f"r{number}", features_2d=random.uniform(size=(8, 1280)).astype(np.float16)
        )
        for number in range(3)
    ]
    spec = FeatureSpec("efficientnet_lite0", 1280, 1.0)
    return corpus.write_records(
        str(folder / "records"), made, n_shards=1, features_2d=spec
    )
