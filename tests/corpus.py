"""Tiny records whose audio and visual sides belong together, without any media."""

import dataclasses
import os
from collections.abc import Callable

import numpy as np

from avl_tf import files, records
from avl_tf.audio import AudioConfig
from avl_tf.records import Clip, FeatureSpec, Record, RecordsSpec

FEATURES_2D = FeatureSpec("drawn", 12, 1.0)
N_TOPICS = 6


def make_record(name: str, n_seconds: int = 8, seed: int = 0, **changes) -> Record:
    """A recording in which each second is about one topic, heard and seen."""
    random = np.random.default_rng([seed, *name.encode()])
    topics = random.integers(N_TOPICS, size=n_seconds)
    n_frames = 100 * n_seconds + 1
    log_mel = random.uniform(-80, -60, (n_frames, 40))
    features = random.uniform(0, 0.2, (n_seconds, FEATURES_2D.dim))
    for second, topic in enumerate(topics):
        log_mel[second * 100 : second * 100 + 100, 6 * topic : 6 * topic + 6] += 50
        features[second, 2 * topic] += 1
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    clips = [Clip(s, s + 2, f"topics {topics[s]}") for s in range(0, n_seconds - 1, 2)]
    record = Record(
        id=name,
        recording_id=name,
        language="xx",
        split="train",
        start_s=0.0,
        end_s=float(n_seconds),
        log_mel=log_mel.astype(np.float16),
        features_2d=features.astype(np.float16),
        clips=tuple(clips),
        labels={"topics": topics.tolist()},
    )
    return dataclasses.replace(record, **changes)


def write_records(
    folder: str,
    made: list[Record],
    n_shards: int = 2,
    split: str = "train",
    encode: Callable[[Record, str], bytes] = records.encode,
    **spec_changes,
) -> str:
    """Writes records as a folder that open_records reads; returns FOLDER/SPLIT."""
    storage = spec_changes.get("storage", "float16")
    shards = {}
    for index in range(n_shards):
        part = made[index::n_shards]
        name = records.shard_name(split, index, n_shards)
        serialized = [encode(record, storage) for record in part]
        n_clips = sum(max(1, len(record.clips)) for record in part)
        os.makedirs(folder, exist_ok=True)
        shards[name] = records.write_shard(
            files.join(folder, name), serialized, n_clips
        )
    spec = RecordsSpec(
        audio=AudioConfig(),
        log_mel_reference="recording",
        features_2d=FEATURES_2D,
        features_3d=None,
        languages=("xx",),
        synthetic=True,
        shards=shards,
    )
    spec = dataclasses.replace(spec, **spec_changes)
    files.write_json(files.join(folder, records.SPEC_NAME), spec.to_json())
    return files.join(folder, split)


def make_set(folder: str, n_recordings: int = 8, seed: int = 0, **changes) -> str:
    """Writes n_recordings of make_record."""
    made = [make_record(f"r{i}", seed=seed) for i in range(n_recordings)]
    return write_records(folder, made, **changes)
