"""Random recordings, as our records and as the authors' three npz of each."""

import pathlib

import numpy as np

from avl_tf import files, records
from avl_tf.audio import AudioConfig

_SHARD_SIZE = 2  # recordings


def write(folder: str, n_recordings: int, n_seconds: int, dim: int) -> None:
    """Writes FOLDER/records and FOLDER/npz, which hold the same arrays, float16.

    They are noise as large as what the authors stored of a video: a log-mel of 100
    frames a second, 2-D features of dim once a second and 3-D ones 1.5 times.
    """
    random = np.random.default_rng(0)
    npz = pathlib.Path(folder, "npz")
    npz.mkdir()
    made = []
    for index in range(n_recordings):
        features = [
            np.abs(random.standard_normal((int(rate * n_seconds), dim), np.float32))
            for rate in (1, 1.5)
        ]
        log_mel = -80 * random.random((100 * n_seconds + 1, 40), np.float32)
        record = records.Record(
            id=f"r{index}",
            recording_id=f"r{index}",
            language="xx",
            split="train",
            start_s=0.0,
            end_s=float(n_seconds),
            log_mel=log_mel.astype(np.float16),
            features_2d=features[0].astype(np.float16),
            features_3d=features[1].astype(np.float16),
        )
        np.savez(npz / f"{record.id}_spec.npz", record.log_mel.T)
        np.savez(npz / f"{record.id}_2d.npz", features=record.features_2d)
        np.savez(npz / f"{record.id}_3d.npz", features=record.features_3d)
        made.append(records.encode(record))
    _write_shards(str(pathlib.Path(folder, "records")), made, dim)


def _write_shards(folder: str, made: list[bytes], dim: int) -> None:
    pathlib.Path(folder).mkdir()
    n_shards = -(-len(made) // _SHARD_SIZE)
    shards = {}
    for index in range(n_shards):
        name = records.shard_name("train", index, n_shards)
        part = made[index * _SHARD_SIZE : (index + 1) * _SHARD_SIZE]
        shards[name] = records.write_shard(files.join(folder, name), part, len(part))
    spec = records.RecordsSpec(
        audio=AudioConfig(),
        log_mel_reference="recording",
        features_2d=records.FeatureSpec("random", dim, 1.0),
        features_3d=records.FeatureSpec("random", dim, 1.5),
        languages=("xx",),
        synthetic=True,
        shards=shards,
    )
    files.write_json(files.join(folder, records.SPEC_NAME), spec.to_json())
