"""The kinds of files that are mutated, and what a user's program does with each.

A kind's file lies in a folder with all that reading it needs: `make` writes it. `use`
are the ways of programs with the file, by their libraries; the worker goes them.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import avl_tf
from avl_tf import dataset, extraction, media, records, runs, trained
from avl_tf.backbones import Backbone
from avl_tf.dataset import ClipConfig
from avl_tf.manifest import Recording, read_manifest, write_manifest
from avl_tf.model import ModelConfig, build_model
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.torch_weights import state_dict
from avl_tf.torch_weights.writer import write_state_dict
from avl_tf.trained import sources
from data_prep import shard_tasks
from data_prep.shard_tasks import ShardTask
from tests import corpus, made_media, mutated_files, torch_files
from tests.mutated_files import inside_shard, inside_zip

Folder = pathlib.Path
SHARD = records.shard_name("train", 0, 1)


@dataclasses.dataclass(frozen=True)
class Kind:
    """The file's name in its folder; make(folder); mutations; use(folder), each."""

    file: str
    make: Callable[[Folder], object]
    mutations: tuple[mutated_files.Mutation, ...]
    use: tuple[Callable[[Folder], object], ...]


def _make_wav(folder: Folder) -> None:
    media.write_wav(folder / "file.wav", made_media.sine(1.5, rate=16000), 16000)


def _make_video(folder: Folder, name: str) -> None:
    frames = [made_media.noise(seed, 64, 96) for seed in range(3)] * 8
    made_media.make_media(folder / name, frames, made_media.sine(2.0), fps=12, gop=12)


def _make_jpeg(folder: Folder) -> None:
    media.write_image(folder / "file.jpg", made_media.noise(0, 90, 120))
    _make_wav(folder)


def _make_manifest(folder: Folder) -> None:
    _make_jpeg(folder)
    clips = [{"start_s": 0.1, "end_s": 0.9, "label": "one"}, {"start_s": 1, "end_s": 9}]
    line = {"id": "a", "media": "file.wav", "language": "sw", "split": "train"}
    more = {"recording_id": "r", "start_s": 0.25, "end_s": 1.25, "duration_s": 1.5}
    labels = {"labels": {"topic": [1, "x"]}, "synthetic": True}
    lines = [{**line, **more, "clips": clips[:1], **labels}, {**line, "id": "b"}]
    lines += [{**line, "id": "c", "image": "file.jpg", "clips": clips}]
    write_manifest(str(folder / "file.jsonl"), lines)


def _make_records(folder: Folder) -> None:
    made = [corpus.make_record(f"r{i}", 3) for i in range(3)]
    corpus.write_records(str(folder), made, n_shards=1)


def _make_pth(folder: Folder) -> None:
    state = {"a.weight": np.ones((8, 5), np.float32), "n": np.int64(3)}
    write_state_dict(str(folder / "file.pth"), state)


def _make_old_pth(folder: Folder) -> None:
    arrays = {"a.weight": np.ones((8, 5), np.float32), "n": np.arange(3)}
    content = torch_files.legacy_bytes(torch_files.state(arrays))
    (folder / "file.pth").write_bytes(content)


def _make_run(folder: Folder) -> None:
    _make_records(folder / "records")
    widths = (corpus.FEATURES_2D.dim,)
    config = ModelConfig(widths, audio_widths=(4, 8), embedding_dim=8)
    info = runs.RunInfo(
        *(config, corpus.FEATURES_2D, None, "recording", "records", "0" * 16),
        *(("xx",), None, True, {"x": "0" * 16}),
    )
    runs.write_info(str(folder), info)
    checkpoint = tf.train.Checkpoint(model=build_model(config))
    prefix = runs.checkpoint_prefix(str(folder))
    tf.train.CheckpointManager(checkpoint, prefix, max_to_keep=1).save()


def _measure(name: str) -> Callable[[Folder], object]:
    return lambda folder: media.duration_s(folder / name)


def _read_sound(folder: Folder) -> None:
    media.read_waveform(folder / "file.wav", 16000, 0.5, 1.25)


def _extract_media(name: str, **config) -> Callable[[Folder], None]:
    def extract(folder: Folder) -> None:
        _extract(folder, [Recording("a", str(folder / name))], **config)

    return extract


def _extract_image(folder: Folder) -> None:
    paths = [str(folder / name) for name in ("file.wav", "file.jpg")]
    _extract(folder, [Recording("a", *paths)], keep_images=True)


def _extract_manifest(folder: Folder) -> None:
    recordings = read_manifest(str(folder / "file.jsonl"))
    _extract(folder, recordings, backbone_2d="")


def _extract(folder: Folder, recordings: list[Recording], **config) -> None:
    """Makes a shard; raises the first of what went wrong with a recording."""
    failed: list[Exception] = []

    def noted(recording, error):
        failed.append(error)
        return failure(recording, error)

    config = ExtractionConfig(**{"backbone_2d": "mean", **config})
    task = ShardTask(str(folder / "out"), SHARD, tuple(recordings), config)
    failure, extraction.failure = extraction.failure, noted
    try:
        shard_tasks.extract_shard(task)
    finally:
        extraction.failure = failure
    if failed:
        raise failed[0]


def use_mean_for_cnns() -> None:
    """Makes the mean colours of a frame its features, in this process."""

    def mean(frames: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.cast(frames, tf.float32), [1, 2]) + 1

    extraction.load_backbone = lambda name, _: Backbone(
        name, 3, 2, 32, None, 1, "", mean
    )


def _crop_image(folder: Folder) -> None:
    sources.crop(str(folder / "file.jpg"))


def _evaluate(folder: Folder) -> None:
    opened = records.open_records(str(folder))
    batches = dataset.evaluation_batches(opened, 2.0, batch_size=2)
    for _ in dataset.read(batches, opened):
        pass


def _train(folder: Folder) -> None:
    clips = ClipConfig(clip_s=2.0, clips_per_recording=2, on_corrupt="skip")
    opened = dataset.open_training_records(str(folder), clips)
    next(dataset.read(dataset.train_batches(opened, clips, 2, seed=0), opened))


def _read_weights(folder: Folder) -> None:
    state_dict(folder / "file.pth")


def _compare(folder: Folder) -> None:
    trained.look(str(folder)).as_read(records.open_records(str(folder / "records")))


def _load(folder: Folder) -> None:
    avl_tf.load(folder).embed_audio((made_media.sine(0.5, rate=16000), 16000))


_BYTES, _TEXT = mutated_files.BYTES, mutated_files.TEXT
_OF_RECORDS = (_evaluate, _train)
KINDS = {
    "wav": Kind(
        *("file.wav", _make_wav, _BYTES),
        (_measure("file.wav"), _read_sound, _extract_media("file.wav", backbone_2d="")),
    ),
    "mp4": Kind(
        *("file.mp4", functools.partial(_make_video, name="file.mp4"), _BYTES),
        (_measure("file.mp4"), _extract_media("file.mp4")),
    ),
    "mkv": Kind(
        *("file.mkv", functools.partial(_make_video, name="file.mkv"), _BYTES),
        (_measure("file.mkv"), _extract_media("file.mkv")),
    ),
    "jpg": Kind("file.jpg", _make_jpeg, _BYTES, (_extract_image, _crop_image)),
    "manifest": Kind("file.jsonl", _make_manifest, _TEXT, (_extract_manifest,)),
    "spec.json": Kind("spec.json", _make_records, _TEXT, _OF_RECORDS),
    "shard": Kind(
        *(SHARD, _make_records, (*_BYTES, *[inside_shard] * 6), _OF_RECORDS),
    ),
    "pth": Kind(
        *("file.pth", _make_pth, (*_BYTES, *[inside_zip] * 6), (_read_weights,)),
    ),
    "old pth": Kind("file.pth", _make_old_pth, _BYTES, (_read_weights,)),
    "run.json": Kind("run.json", _make_run, _TEXT, (_compare, _load)),
}
