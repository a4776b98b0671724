"""What a worker does for an index: recordings or records in, their vectors out."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import tensorflow as tf

from avl_tf import extraction, files, records
from avl_tf.errors import MediaError, UserError
from avl_tf.manifest import failures
from avl_tf.records import Record, record_index
from avl_tf.retrieval import origins, same_model
from avl_tf.retrieval.embedding import RecordEmbedder
from avl_tf.retrieval.entries import Embedded, ModelNote
from avl_tf.retrieval.origins import Wanted
from avl_tf.retrieval.tasks import About, Failed, Model, Task
from avl_tf.settings.extraction import ExtractionConfig

_CHANGED = "it changed while it was read; the next run tries it again"


def describe(model: Model, held: ModelNote | None, index_dir: str) -> About:
    """Looks at a model; raises as trained.look too.

    Args:
        model: the model.
        held: what the index of index_dir knows of it, if anything.

    Raises:
        UserError: it embeds its golden input otherwise than when that was noted.
    """
    _settle()
    embedder = _embedder(model.path)
    if held and held.digest == embedder.embedder.digest:
        same_model.require_golden(embedder.embedder, held, index_dir)
    branches = embedder.embedder.branches
    hears = tuple(name[6:] for name in branches if name.startswith("audio:"))
    return About(embedder.note(), embedder.trained_s, embedder.spec.images, hears)


def require_eyes(model: Model) -> None:
    """Makes sure that the model's CNNs can be loaded; UserError if not."""
    _settle()
    embedder = _embedder(model.path)
    config = _extraction(model)
    try:
        found = extraction.feature_specs(config)
    except (UserError, OSError) as error:
        raise UserError(
            f"the model sees by features that cannot be made: {error} Give its weights "
            "as --weights_2d=FILE, --weights_3d=FILE."
        ) from error
    for name, stream in embedder.spec.streams.items():
        made = found[name]
        # Vectors that were pooled before they came into records have no rate.
        if made is None or (
            made.dim != stream.dim or stream.rate_hz not in (0, made.rate_hz)
        ):
            raise UserError(
                f"{stream.backbone} makes {made}, the model's records have {stream}."
            )


def list_records(model: Model, path: str) -> list[tuple[str, str, str, str]]:
    """Lists records: their ids, recording ids, shards, digests of those.

    Raises:
        FileNotFoundError, UserError: they are not there, or the model cannot read them.
    """
    _settle()
    found = _embedder(model.path).as_read(records.open_records(path))
    return [
        (
            entry.id,
            entry.recording_id,
            entry.shard,
            found.spec.shards[entry.shard].sha256,
        )
        for entry in record_index.list_read(found)
        if entry.id
    ]


def make(task: Task) -> list[Embedded | Failed]:
    """Embeds what a task names; what is wrong with one is its failure."""
    _settle()
    if task.records:
        return list(_of_records(task))
    return [_of_media(task, one) for one in task.wanted]


def _of_media(task: Task, one: Wanted) -> Embedded | Failed:
    model, source, recording = task.model, one.source, one.recording
    if recording is None:
        raise ValueError(f"{source.record_id} is no recording")
    place = source.media, source.size, source.mtime_ns
    source = dataclasses.replace(source, content=origins.content(*place))
    how = _extraction(model)
    (found,) = extraction.extract([recording], how, one_sided=True, folder=task.folder)
    if origins.status(source.media) != place[1:]:
        # Of no size that a file has, so that the next run sees another.
        return Failed(dataclasses.replace(source, size=-1), _CHANGED)
    if not isinstance(found, Record):
        return Failed(source, found["reason"])
    try:
        return _embedder_of_media(model).embed_record(found, source, task.config)
    except (UserError, MediaError) as error:
        return Failed(source, failures.reason(error, source.media))


def _of_records(task: Task) -> Iterator[Embedded | Failed]:
    embedder = _embedder(task.model.path)
    found = embedder.as_read(records.open_records(task.records))
    (shard,) = {one.shard for one in task.wanted}
    wanted = {one.source.record_id: one.source for one in task.wanted}
    entries = record_index.list_records(dataclasses.replace(found, shards=(shard,)))
    for entry in entries:
        source = wanted.pop(entry.id, None)
        if source is None:
            continue
        path = found.path(shard)
        serialized = next(record_index.read_at([path], [entry.offset]))
        try:
            if serialized is None:
                raise UserError(f"{path}: {entry} Its bytes are damaged.")
            yield embedder.embed_serialized(serialized, found.spec, source, task.config)
        except (UserError, tf.errors.InvalidArgumentError) as error:
            yield Failed(source, failures.reason(files.reason(error), ""))
    for source in wanted.values():
        yield Failed(source, f"the shard {shard} does not hold it any more")


def _settle() -> None:
    """One thread of TensorFlow a worker, as extraction's."""
    with contextlib.suppress(RuntimeError):
        extraction.limit_threads(1)


@functools.lru_cache(1)
def _embedder(path: str) -> RecordEmbedder:
    return RecordEmbedder(path)


@functools.lru_cache(1)
def _extraction(model: Model) -> ExtractionConfig:
    streams = _embedder(model.path).spec.streams
    names = {name: stream.backbone for name, stream in streams.items()}
    return ExtractionConfig(
        backbone_2d=names.get("features_2d", ""),
        weights_2d=model.weights_2d,
        backbone_3d=names.get("features_3d", ""),
        weights_3d=model.weights_3d,
        keep_images=_embedder(model.path).spec.images,
        frames="key" if any(one.frames == "key" for one in streams.values()) else "all",
        audio=_embedder(model.path).spec.audio,
        limits=model.limits,
    )


@functools.lru_cache(1)
def _embedder_of_media(model: Model) -> RecordEmbedder:
    """With the rates that the CNNs have, where the model's records had none."""
    embedder = _embedder(model.path)
    streams = extraction.feature_specs(_extraction(model))
    embedder.spec = dataclasses.replace(
        embedder.spec,
        features_2d=streams["features_2d"],
        features_3d=streams["features_3d"],
    )
    return embedder
