"""Extracts what training reads: manifest in, TFRecord shards and spec.json out.

    python -m data_prep.extract --manifest=data/my/manifest.jsonl \\
        --out_dir=data/my/records --backbone_2d=efficientnet_lite0

Log-mel spectrograms and frozen CNN features go into shards, as in
train-00000-of-00004.tfrecord. Run again after a stop, it makes only the shards that are
missing. Recordings that fail are listed with the reason in failures.jsonl; the exit
status is then 1.
"""

import dataclasses

from absl import flags, logging
from tqdm import tqdm

from avl_tf import program
from avl_tf.records import RecordsSpec
from data_prep import extraction, shards, workers
from data_prep.extraction import ExtractionConfig, ShardTask
from data_prep.manifest import Recording, read_manifest

_MANIFEST = flags.DEFINE_string("manifest", None, "Manifest (JSON lines) to read.")
_OUT_DIR = flags.DEFINE_string("out_dir", None, "Folder for shards and spec.json.")
_BACKBONE_2D = flags.DEFINE_string(
    "backbone_2d",
    "resnet152",
    "Frozen image CNN (the paper: resnet152); empty for none.",
)
_WEIGHTS_2D = flags.DEFINE_string(
    "weights_2d", "", "Its weights file, if it needs one."
)
_BACKBONE_3D = flags.DEFINE_string(
    "backbone_3d", "", "Frozen video CNN (the paper: resnext101_3d); empty for none."
)
_WEIGHTS_3D = flags.DEFINE_string("weights_3d", "", "Its weights file.")
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Worker processes; the number of cores if left out.", lower_bound=1
)
_SHARD_SIZE = flags.DEFINE_integer(
    "recordings_per_shard", 16, "Recordings in a shard, at most.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the order of recordings.")
_RETRY = flags.DEFINE_boolean(
    "retry_failed", False, "Make shards anew in which recordings failed before."
)


def main() -> None:
    config = ExtractionConfig(
        _BACKBONE_2D.value, _WEIGHTS_2D.value, _BACKBONE_3D.value, _WEIGHTS_3D.value
    )
    if not (config.backbone_2d or config.backbone_3d):
        raise ValueError("--backbone_2d and --backbone_3d are both empty: name one.")
    recordings = read_manifest(_MANIFEST.value)
    folder = _OUT_DIR.value.rstrip("/")
    tasks = _plan(recordings, folder, config, _SHARD_SIZE.value, _SEED.value)
    # Workers are many; a wrong name or weights file is told once, here.
    extraction.limit_threads(1)
    spec = RecordsSpec(
        audio=config.audio,
        log_mel_reference="recording",
        features_2d=extraction.feature_spec(config.backbone_2d, config.weights_2d),
        features_3d=extraction.feature_spec(config.backbone_3d, config.weights_3d),
        languages=tuple(sorted({recording.language for recording in recordings})),
        synthetic=any(recording.synthetic for recording in recordings),
        shards={},
    )
    shards.claim(folder, _description(tasks, config))
    results = {task.name: shards.read_result(folder, task.name) for task in tasks}
    if _RETRY.value:
        results = {k: None if r and r.failures else r for k, r in results.items()}
    missing = [task for task in tasks if results[task.name] is None]
    n_workers = min(_WORKERS.value or extraction.n_cores(), max(1, len(missing)))
    if missing:
        logging.info(
            "%s: %d of %d shards to make, %d workers",
            folder,
            len(missing),
            len(tasks),
            n_workers,
        )
        bar = tqdm(
            total=len(recordings),
            initial=sum(len(t.recordings) for t in tasks if results[t.name]),
            unit="recording",
            disable=None,
        )
        for result in workers.make_shards(missing, n_workers):
            results[result.name] = result
            bar.update(result.spec.n_records + len(result.failures))
        bar.close()
    shards.finish(folder, spec, list(results.values()))


def _plan(
    recordings: list[Recording],
    folder: str,
    config: ExtractionConfig,
    shard_size: int,
    seed: int,
) -> list[ShardTask]:
    tasks = []
    for split in sorted({recording.split for recording in recordings}):
        members = [recording for recording in recordings if recording.split == split]
        dealt = shards.deal([member.id for member in members], split, shard_size, seed)
        tasks += [
            ShardTask(folder, name, tuple(members[i] for i in part), config)
            for name, part in dealt.items()
        ]
    return tasks


def _description(tasks: list[ShardTask], config: ExtractionConfig) -> str:
    """Tells one job from another; files may have moved since it was begun."""
    dealt = [
        (
            task.name,
            [dataclasses.replace(r, media="", image="") for r in task.recordings],
        )
        for task in tasks
    ]
    return repr((dealt, config))


def cli() -> None:
    flags.mark_flags_as_required(["manifest", "out_dir"])
    program.run(main)


if __name__ == "__main__":
    cli()
