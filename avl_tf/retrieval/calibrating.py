"""Calibrates an index with validation records: clips whose speech and pictures fit."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf import dataset, evaluation, overlap, progress, trained
from avl_tf.errors import UserError
from avl_tf.records import RecordSet, open_records, record_index
from avl_tf.retrieval import calibration
from avl_tf.retrieval import rerank as reranking
from avl_tf.retrieval.calibrated import Kept
from avl_tf.retrieval.calibration import Asked, Calibration
from avl_tf.retrieval.embedding import RecordEmbedder
from avl_tf.retrieval.entries import Embedded, Source
from avl_tf.retrieval.finding import Finder
from avl_tf.retrieval.windows import WindowConfig
from avl_tf.retrieval.writing import Writer
from avl_tf.trained import Trained
from avl_tf.trained.embedder import Embedder

# Moments of other recordings that are looked at.
_OTHERS = 10


@dataclasses.dataclass(frozen=True)
class Clip:
    """A validation clip: audio, visual float32 [D]; their steps [T', D] and [K, D]."""

    recording_id: str
    audio: np.ndarray
    audio_steps: np.ndarray | None
    visual: np.ndarray
    visual_steps: np.ndarray


def calibrate(store: Writer, path: str, model: str = "") -> Kept:
    """Calibrates an index, and keeps that in it.

    Args:
        store: the index, open for writing.
        path: records, as of avl_tf.evaluate: best of a split on which the model was
            neither trained nor tested.
        model: where the index's model is now, if not where it was.

    Raises:
        UserError: the index is empty or made by another model, or the records do not
            fit it.
        FileNotFoundError: there are no such records, or no model.
    """
    if not store.n_windows:
        raise UserError(f"{store.folder}: an empty index has nothing to calibrate.")
    looked = trained.look(model or store.model.path)
    embedder = RecordEmbedder(looked.path)
    store.claim(embedder.note())
    _tell_if_trained_on(looked, embedder.as_read(open_records(path)))
    finder = Finder(store)
    sample = finder.sample()
    asked: dict[str, list[Asked]] = defaultdict(list)
    clips = list(read(embedder, looked, path))
    for clip in progress.Bar(clips, "queries", unit="clip"):
        for name, one in ask(finder, clip, sample):
            asked[name].append(one)
    searches: dict[str, Calibration] = {
        name: calibration.fit(those, store.n_windows) for name, those in asked.items()
    }
    kept = Kept(path, len(clips), tuple(sample), searches)
    kept.put(store)
    return kept


def _tell_if_trained_on(looked: Trained, found: RecordSet) -> None:
    learnt = looked.learnt()
    if learnt and (shared := overlap.find(learnt, overlap.look(found))):
        logging.warning(
            "--validation=%s: %s. What was seen in training scores higher than what "
            "will be asked: too few queries will be told to fit nothing. Use a split "
            "of its own (docs/evaluation.md).",
            found.name,
            shared,
        )


def read(embedder: RecordEmbedder, looked: Trained, path: str) -> Iterator[Clip]:
    """Embeds the clips of validation records; UserError if they do not fit."""
    found = embedder.as_read(open_records(path))
    seen = _seen(embedder, found)
    model = embedder.embedder
    heard = evaluation.heard(found, model.branches, path, "validation")
    for batch in dataset.read(looked.batches(found), found):
        audio, steps = _heard(model, batch, heard["audio"])
        ids = [one.decode().rpartition("@")[0] for one in batch["clip_id"].numpy()]
        for index, record_id in enumerate(ids):
            recording_id, visual, visual_steps = next(seen[record_id])
            yield Clip(
                recording_id,
                audio[index],
                steps[index] if steps else None,
                visual,
                visual_steps,
            )


def _heard(
    model: Embedder, batch: Mapping[str, tf.Tensor], branch: str
) -> tuple[np.ndarray, list[np.ndarray] | None]:
    """The embeddings of a batch, and the steps of each of its clips."""
    tower = model.step_towers.get(branch)
    if tower is None:
        return model.embed(batch, {"audio": branch})["audio"].numpy(), None
    given = {name: batch[name] for name in ("log_mel", "n_frames")}
    found = {key: value.numpy() for key, value in tower(given).items()}
    pairs = zip(found["audio_steps"], found["n_steps"], strict=True)
    return found["audio_embedding"], [steps[:n] for steps, n in pairs]


def _seen(
    embedder: RecordEmbedder, found: RecordSet
) -> dict[str, Iterator[tuple[str, np.ndarray, np.ndarray]]]:
    """What is seen in the clips of each record, in their order."""
    config = WindowConfig(windows="clips").settled(embedder.trained_s)

    def of_record(made: Embedded) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for span, visual in zip(made.spans, made.visual, strict=True):
            steps = made.steps[span.first_step : span.first_step + span.n_steps]
            yield made.source.recording_id, visual, steps

    seen = {}
    for entry in record_index.list_read(found):
        (serialized,) = record_index.read_at([found.path(entry.shard)], [entry.offset])
        if serialized is None:
            raise UserError(f"{found.path(entry.shard)}: {entry} is damaged.")
        source = Source("", entry.id, entry.recording_id)
        made = embedder.embed_serialized(
            serialized, found.spec, source, config, heard=False
        )
        seen[entry.id] = of_record(made)
    return seen


def ask(finder: Finder, clip: Clip, sample: list[int]) -> Iterator[tuple[str, Asked]]:
    """What each kind of search finds for a clip, by its name."""
    own = float(clip.audio @ clip.visual)
    yield "audio-video", _asked(finder, clip, clip.audio, None, "video", own, sample)
    yield "video-audio", _asked(finder, clip, clip.visual, None, "audio", own, sample)
    if clip.audio_steps is not None:
        steps = [(clip.visual_steps, np.arange(len(clip.visual_steps), dtype=float))]
        pooled = np.array([own], np.float32)
        scores, _ = reranking.rerank(clip.audio_steps, steps, [(0.0, 1.0)], pooled)
        of_steps = (clip.audio_steps, "video", float(scores[0]))
        yield "audio-video-steps", _asked(finder, clip, clip.audio, *of_steps, sample)


def _asked(
    finder: Finder,
    clip: Clip,
    query: np.ndarray,
    steps: np.ndarray | None,
    output: str,
    own: float,
    sample: list[int],
) -> Asked:
    found = finder.find(query, steps, output, 2 * _OTHERS)
    others = [
        index
        for index, window in enumerate(found.windows)
        if window.recording_id != clip.recording_id
    ]
    found = found.only(others).moments(_OTHERS)
    return Asked(found.scores, own, finder.scale(query, output, sample))
