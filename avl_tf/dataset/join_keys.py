"""What joins records of several languages: keys of each, or images that are alike."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf.dataset import clip_cutting, training_records
from avl_tf.errors import UserError
from avl_tf.records import RecordSet, record_index
from avl_tf.records.record_index import Entry
from avl_tf.records.schema import parse

RECORDING, IMAGE, SIMILAR = "recording", "image", "similar"
_ROWS_AT_ONCE = 1024


def label_of(join_by: str, sets: Mapping[str, RecordSet]) -> str:
    """The label whose value joins; "" if it is something else.

    Images that were not kept are told by the label "image", in all sets then.
    """
    if join_by == IMAGE and all(one.spec.images for one in sets.values()):
        return ""
    return "" if join_by in (RECORDING, SIMILAR) else join_by


def keys(
    records: RecordSet, entries: Sequence[Entry], join_by: str, label: str
) -> list[str]:
    """The key of each record; "" of one without.

    Raises:
        ValueError: no record has one.
    """
    if label:
        found = [entry.label for entry in entries]
        if not any(found):
            raise UserError(
                f"--join_by={join_by}: no record of {records.language}={records.name} "
                f"has a label '{label}'"
                + (
                    ", and not every language has the images (data_prep.extract "
                    "--keep_images). Extract them, or join by recording or a label."
                    if join_by == IMAGE
                    else ". A line of the manifest gives it, under labels."
                )
            )
        return found
    if join_by == IMAGE:
        return _image_keys(records, entries)
    return [entry.recording_id for entry in entries]


def _image_keys(records: RecordSet, entries: Sequence[Entry]) -> list[str]:
    schema = {"image": tf.io.FixedLenFeature([], tf.string)}
    logging.info("%s: reading %d images to join by", records.name, len(entries))
    images = _read(records, entries).map(
        lambda one: tf.io.parse_single_example(one, schema)["image"], tf.data.AUTOTUNE
    )
    found = training_records.read(images, records.name, [records])
    return [hashlib.sha256(image.numpy()).hexdigest() for image in found]


def similar(
    sets: Mapping[str, RecordSet],
    listed: Mapping[str, Sequence[Entry]],
    n: int,
    same_n_clips: bool,
) -> tuple[list[list[list[Entry]]], list[int]]:
    """Joins each record of every language to those of the most similar images.

    Args:
        sets, listed: by language, with their records.
        n: how many records of each other language.
        same_n_clips: only such as have as many clips.

    Returns:
        A row for each record, the first language's first, that each other language has
        any for: by language the records, the most similar first; of its own language
        the record itself. And the place of its own language, whose image is seen.

    Raises:
        ValueError: the records have no frozen features.

    Source: Ohishi et al. 2020, Pair expansion for learning multilingual semantic
        embeddings using disjoint visually-grounded speech audio datasets.
    Unstated: which image embedding and how many images. Here the cosine of the frozen
        features of a record, each stream's maximum over time.
    """
    features = {name: _features(sets[name], listed[name]) for name in sets}
    rows, seen = [], []
    for place, name in enumerate(sets):
        found: list[list[list[Entry]]] = [[] for _ in listed[name]]
        for other in sets:
            if other == name:
                nearest = [[entry] for entry in listed[name]]
            else:
                both = listed[name], listed[other]
                cosines = _cosines(features[name], features[other])
                nearest = _nearest(*both, cosines, n, same_n_clips)
            for row, entries in zip(found, nearest, strict=True):
                row.append(entries)
        whole = [row for row in found if all(row)]
        rows += whole
        seen += [place] * len(whole)
    return rows, seen


def _cosines(ours: np.ndarray, theirs: np.ndarray) -> Iterator[np.ndarray]:
    """A row for each of ours, some at a time."""
    for start in range(0, len(ours), _ROWS_AT_ONCE):
        yield from ours[start : start + _ROWS_AT_ONCE] @ theirs.T


def _nearest(
    ours: Sequence[Entry],
    theirs: Sequence[Entry],
    cosines: Iterable[np.ndarray],
    n: int,
    same_n_clips: bool,
) -> list[list[Entry]]:
    """The n of theirs that are most similar to each of ours, if any fits."""
    counts = np.array([entry.n_clips for entry in theirs])
    fitting = {count: np.flatnonzero(counts == count) for count in set(counts)}
    found = []
    for entry, cosine in zip(ours, cosines, strict=True):
        fits = np.arange(len(theirs))
        if same_n_clips:
            fits = fitting.get(entry.n_clips, fits[:0])
        found.append([theirs[i] for i in fits[_largest(cosine[fits], n)]])
    return found


def _largest(values: np.ndarray, n: int) -> np.ndarray:
    """The places of the n largest of many values, the largest first."""
    places = np.arange(len(values))
    if n < len(values):
        places = np.sort(np.argpartition(-values, n)[:n])
    return places[np.argsort(-values[places], kind="stable")]


def _features(records: RecordSet, entries: Sequence[Entry]) -> np.ndarray:
    """float32 [N, D], each of length 1."""
    spec = records.spec
    if not spec.streams:
        raise UserError(
            f"--join_by={SIMILAR}: {records.language}={records.name} has no frozen "
            "features. Extract it with a --backbone_2d."
        )
    logging.info("%s: reading %d features to join by", records.name, len(entries))

    @tf.autograph.experimental.do_not_convert
    def pooled(serialized: tf.Tensor) -> tf.Tensor:
        streams = [one.all()[tf.newaxis] for one in parse(serialized, spec)["features"]]
        masks = [tf.ones(tf.shape(one)[:2], tf.bool) for one in streams]
        vector = clip_cutting.pool_features(streams, masks)[0]
        return tf.math.l2_normalize(vector)

    read = _read(records, entries).map(pooled, tf.data.AUTOTUNE)
    found = training_records.read(read, records.name, [records])
    return np.stack([one.numpy() for one in found])


def _read(records: RecordSet, entries: Sequence[Entry]) -> tf.data.Dataset:
    paths = [records.path(entry.shard) for entry in entries]
    return record_index.serialized_at(paths, [entry.offset for entry in entries])
