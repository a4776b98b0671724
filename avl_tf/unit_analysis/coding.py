"""Records and a model with codebooks in; out come the codes of every clip."""

from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from avl_tf import dataset, progress
from avl_tf.model import audio_codes
from avl_tf.records import RecordSet


class Coded(NamedTuple):
    """A clip by a layer.

    record_id: of its record; start_s: where it begins there. codes: int [T'], those
    steps that hold audio. step_s: seconds of a step.
    """

    layer: str
    record_id: str
    start_s: float
    codes: np.ndarray
    step_s: float


def code(
    model: keras.Model, branch: str, records: RecordSet, batches: tf.data.Dataset
) -> Iterator[Coded]:
    """Yields the clips of a set in their order, by each layer with a codebook.

    Args:
        model: of build_model, with weights.
        branch: that hears.
        records: the set.
        batches: dataset.evaluation_batches of it.

    Raises:
        UserError: a shard is damaged.
    """
    coder = audio_codes.build(model, branch)
    rate = records.spec.audio.frame_rate
    with progress.Bar(total=records.n_clips, unit="clip") as bar:
        for batch in dataset.read(batches, records):
            heard = {name: batch[name] for name in ("log_mel", "n_frames")}
            found = coder(heard)
            ids = [one.decode() for one in batch["clip_id"].numpy()]
            for layer, (codes, n_steps, step_frames) in found.items():
                step_s = int(step_frames) / rate
                valid = zip(ids, codes.numpy(), n_steps.numpy(), strict=True)
                for clip_id, own, n in valid:
                    record_id, _, span = clip_id.rpartition("@")
                    start_s = float(span.partition("-")[0])
                    yield Coded(layer, record_id, start_s, own[:n], step_s)
            bar.update(len(ids))
