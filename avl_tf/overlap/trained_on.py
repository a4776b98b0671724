"""The note of what a run has learnt from: RUN_DIR/trained_on.tfrecord.

It holds the records of the run's own training set, and those of all stages that it
started from, so that a parent may go. Each stage is one record of the file, whose
checksums tell damage.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

from avl_tf import dataset, files, records, runs, settings
from avl_tf.dataset import Records
from avl_tf.errors import UserError
from avl_tf.overlap.contents import Contents, look
from avl_tf.runs import RunInfo
from avl_tf.settings.clips import ClipConfig
from avl_tf.settings.stage import StageConfig


@dataclasses.dataclass(frozen=True)
class Learnt:
    """What one stage was trained on.

    Attributes:
        run: the run directory.
        records: what the training set was called.
        contents: what was in it.
    """

    run: str
    records: str
    contents: Contents


def exists(folder: str) -> bool:
    """Whether a run directory, or the assets.extra of an export, has a note."""
    return tf.io.gfile.exists(files.join(folder, runs.TRAINED_ON))


def gather(
    run_dir: str, training_set: Records | None, parents: Sequence[str]
) -> list[Learnt]:
    """What a run learns from: its training set, then what its parents have learnt from.

    Args:
        run_dir: the run directory.
        training_set: None if the run has a note already, which is read.
        parents: the runs that its branches start from.

    Raises:
        ValueError: a note is damaged.
    """
    if training_set is None:
        return read(run_dir)
    own = Learnt(run_dir, training_set.name, look(training_set))
    before = [learnt for parent in parents for learnt in read(parent)]
    # Parents may have one in common.
    return [own, *{(one.run, one.records): one for one in before}.values()]


def write(run_dir: str, learnt: Sequence[Learnt]) -> None:
    """Writes the note of a run."""
    path = files.join(run_dir, runs.TRAINED_ON)
    records.write_shard(path, (_encode(one, len(learnt)) for one in learnt), 0)


def read(folder: str, run_dir: str = "") -> list[Learnt]:
    """Reads what a run has learnt from: its own training set, then its parents'.

    Of a run without a note, as earlier versions wrote them, the training records are
    looked through, and its parent is asked. What is not there any more is passed over.

    Args:
        folder: a run directory, or the assets.extra of an export.
        run_dir: what the run is called; folder if left out.

    Raises:
        ValueError: the note is damaged.
    """
    if exists(folder):
        return _read(files.join(folder, runs.TRAINED_ON))
    info, name = runs.read_info(folder), run_dir or folder
    records, found = training_set(folder, info, name), []
    if records:
        found.append(Learnt(name, records.name, look(records)))
    if info.parent and runs.exists(info.parent):
        found += read(info.parent)
    return found


def training_set(folder: str, info: RunInfo, name: str) -> Records | None:
    """The training set of a run without a note, as long as it is as it was."""
    path = files.join(folder, runs.FLAGS)
    if not tf.io.gfile.exists(path):  # imported
        return None
    why = "they have changed since"
    try:
        with files.local_copy(path) as local:
            given = settings.read_flagfile(
                local, StageConfig, ClipConfig, others=True, name=path
            )
        clips = settings.from_flags(ClipConfig, given)
        path = settings.from_flags(StageConfig, given).records
        found = dataset.open_training_records(path, clips)
        if found.fingerprint == info.records_fingerprint:
            return runs.as_read(found, info.model)
    except (OSError, UserError, tf.errors.OpError) as error:
        why = files.reason(error)
    logging.info("%s: its training records cannot be looked at (%s).", name, why)
    return None


def _encode(learnt: Learnt, n_stages: int) -> bytes:
    held = learnt.contents
    texts = {
        # A file that was cut between two stages is whole by its checksums.
        "n_stages": [str(n_stages)],
        "run": [learnt.run],
        "records": [learnt.records],
        "ids": held.ids,
        "recording_ids": held.recording_ids,
    }
    values = {k: [text.encode() for text in found] for k, found in texts.items()}
    for name, kind in _ARRAYS.items():
        values[name] = [getattr(held, name).astype(kind).tobytes()]
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        for name, value in values.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


# As they lie in the file.
_ARRAYS = {"sizes": "<i4", "hashes": "<u4", "times_s": "<f4"}


def _read(path: str) -> list[Learnt]:
    try:
        serialized = tf.data.TFRecordDataset(path).as_numpy_iterator()
        found = [_decode(one) for one in serialized]
        if not found or any(n_stages != len(found) for _, n_stages in found):
            raise ValueError("it ends too early")
        return [learnt for learnt, _ in found]
    except (tf.errors.DataLossError, ValueError, IndexError, DecodeError) as error:
        raise UserError(
            f"{path}: damaged ({files.reason(error)}). Delete it: what the run has "
            "learnt from is then looked up in its training records."
        ) from None


def _decode(serialized: bytes) -> tuple[Learnt, int]:
    """A stage, and how many the note has."""
    held = tf.train.Example.FromString(serialized).features.feature
    texts = {
        name: tuple(text.decode() for text in held[name].bytes_list.value)
        for name in ("n_stages", "run", "records", "ids", "recording_ids")
    }
    arrays = {
        name: np.frombuffer(held[name].bytes_list.value[0], kind)
        for name, kind in _ARRAYS.items()
    }
    contents = Contents(texts["ids"], texts["recording_ids"], **arrays)
    learnt = Learnt(texts["run"][0], texts["records"][0], contents)
    return learnt, int(texts["n_stages"][0])
