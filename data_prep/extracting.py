"""What data_prep.extract does: recordings dealt to shards, workers that make them."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

from absl import logging

from avl_tf import extraction, files, processors, progress, settings
from avl_tf.errors import UserError
from avl_tf.manifest import Fault, Recording
from avl_tf.manifest.failures import Failure
from avl_tf.offspring import n_cores
from avl_tf.records import FeatureSpec, RecordsSpec
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import adoption, growth, jobs, shards, workers
from data_prep.output_config import OutputConfig
from data_prep.shard_tasks import ShardTask
from data_prep.shards import ShardResult

_SHARD_SIZE = 16


def extract(
    recordings: Sequence[Recording],
    faults: Sequence[Fault],
    output: OutputConfig,
    config: ExtractionConfig,
    workers_asked: int | None = None,
    scheduler: str = "",
) -> list[Failure]:
    """Makes the shards that are not there, then spec.json and the lists beside it.

    Args:
        recordings: the good lines of a manifest.
        faults: the others, which count as failed.
        output: where shards go, and how recordings are dealt to them.
        config: what is computed.
        workers_asked: processes, a core each; None is as many as there are cores.
        scheduler: address of a dask scheduler whose workers work instead.

    Returns:
        What failed, and what could not be tried.

    Raises:
        ValueError, OSError: the folder holds other work, a backbone is not there, or
            nothing can be written.
    """
    with growth.sole_process(output.folder):
        return _extract(recordings, faults, output, config, workers_asked, scheduler)


def _extract(
    recordings: Sequence[Recording],
    faults: Sequence[Fault],
    output: OutputConfig,
    config: ExtractionConfig,
    workers_asked: int | None,
    scheduler: str,
) -> list[Failure]:
    folder = output.folder
    size = output.recordings_per_shard or _SHARD_SIZE
    plan = functools.partial(
        _plan, folder=folder, config=config, shard_size=size, seed=output.seed
    )
    wanted = plan(recordings)
    standing = growth.Standing(folder)
    if not standing.grows and adoption.note_lines(
        folder,
        standing.whole,
        recordings,
        plan,
        lambda tasks: jobs.is_begun_for(
            folder, jobs.extraction(tasks, config, output.seed, size)
        ),
    ):
        standing = growth.Standing(folder)
    tasks, results = standing.plan(wanted, output.retry_failed)
    missing = [task for task in tasks if task.name not in results]
    n_workers = min(workers_asked or n_cores(), max(1, len(missing)))
    # By default fewer shards than cores share the cores; a worker asked for is a core.
    spare = 1 if workers_asked or scheduler else n_cores() // n_workers
    with workers.Workers(n_workers, spare, scheduler) as pool:
        # Workers are many; a wrong name or weights file is told once, by the first.
        features = jobs.claim(
            folder,
            jobs.extraction(wanted, config, output.seed, size, standing.grows),
            lambda: settings.plain(
                pool.run(extraction.feature_specs, config, by_each=True)
            ),
            extraction.FEATURES_CHECK,
        )
        if missing:
            n_known = sum(len(task.known) for task in missing)
            logging.info(
                "%s: %d of %d shards to make, %s%s",
                folder,
                len(missing),
                len(tasks),
                f"{n_known} of their recordings are known, " if n_known else "",
                scheduler or f"{n_workers} workers",
            )
            # Of a cluster's workers the first, by chance, speaks for all.
            processors.tell("extraction", *pool.run(processors.describe))
            results.update(_make(pool, missing, len(recordings)))
    streams: dict[str, Any] = {
        k: FeatureSpec(**v) if v else None for k, v in features.items()
    }
    spec = RecordsSpec(
        audio=config.audio,
        storage=config.storage,
        images=config.keep_images,
        log_mel_reference="recording",
        languages=tuple(sorted({recording.language for recording in recordings})),
        synthetic=any(recording.synthetic for recording in recordings),
        shards={},
        **streams,
    )
    untried = [dataclasses.asdict(fault) for fault in faults]
    made = [results[task.name] for task in tasks]
    standing.retire()
    failed = shards.finish(folder, spec, made, untried)
    if changes := standing.changes(made):
        print(f"{folder}: {changes}")
    standing.remove_others(results)
    return failed


def _make(
    pool: workers.Workers, missing: list[ShardTask], n_recordings: int
) -> dict[str, ShardResult]:
    """Makes the missing shards of n_recordings in all, with a progress bar."""
    made = {}
    n_done = n_recordings - sum(len(task.recordings) for task in missing)
    with progress.Bar(total=n_recordings, initial=n_done, unit="recording") as bar:
        for result in pool.make_shards(missing):
            made[result.name] = result
            bar.update(result.spec.n_records + len(result.failures))
    return made


def _plan(
    recordings: Sequence[Recording],
    folder: str,
    config: ExtractionConfig,
    shard_size: int,
    seed: int,
) -> list[ShardTask]:
    if "://" not in folder:
        folder = os.path.abspath(folder)
    if not files.is_utf8(folder):
        raise UserError(
            f"--out_dir={folder}: not UTF-8, which every name must be, the folder that "
            "this was started in too. Rename it."
        )
    tasks = []
    for split in sorted({recording.split for recording in recordings}):
        members = [recording for recording in recordings if recording.split == split]
        dealt = shards.deal([member.id for member in members], split, shard_size, seed)
        tasks += [
            ShardTask(folder, name, tuple(members[i] for i in part), config)
            for name, part in dealt.items()
        ]
    return tasks
