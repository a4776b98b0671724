"""Frames of many recordings in, features of each out: the CNN sees full batches.

Short videos and images would go through a CNN one or two frames at a time; here they
wait for one another. Frames of one size go together, in the order in which they came.
"""

import numpy as np
import tensorflow as tf

from avl_tf.backbones import Backbone


class Features:
    """What a backbone makes of one recording; filled by a FrameQueue.

    Attributes:
        rows: the features so far, float32 [D] each, in the order of the frames.
        error: what went wrong, or None.
    """

    def __init__(self):
        self.rows: list[np.ndarray] = []
        self.error: Exception | None = None
        self.frames: list[np.ndarray] = []  # that do not make a feature yet
        self.n_expected = 0

    @property
    def complete(self) -> bool:
        """Nothing of it waits in the queue."""
        return self.error is not None or len(self.rows) == self.n_expected


class FrameQueue:
    """Collects frames and runs them through one backbone in batches."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        # On a CPU larger batches gain nothing and need more memory.
        self._batch_size = 32 if tf.config.list_physical_devices("GPU") else 4
        self._waiting: dict[tuple[int, ...], list[tuple[np.ndarray, Features]]] = {}

    def put(self, frame: np.ndarray, features: Features) -> None:
        """Takes the next frame, uint8 [H, W, 3], of a recording."""
        features.frames.append(frame)
        if len(features.frames) == self.backbone.frames_per_feature:
            self._wait(features)

    def close(self, features: Features) -> None:
        """Ends a recording; what its last feature lacks in frames is black."""
        n_missing = -len(features.frames) % self.backbone.frames_per_feature
        if n_missing:
            features.frames += [np.zeros_like(features.frames[0])] * n_missing
            self._wait(features)

    def drop(self, features: Features) -> None:
        """Forgets the waiting frames of a recording that has failed."""
        for size, waiting in self._waiting.items():
            self._waiting[size] = [one for one in waiting if one[1] is not features]

    def flush(self) -> None:
        """Computes what waits, in batches that are not full."""
        waiting, self._waiting = self._waiting, {}
        for batch in waiting.values():
            self._run(batch)

    def _wait(self, features: Features) -> None:
        unit = np.stack(features.frames)
        features.frames = []
        features.n_expected += 1
        batch = self._waiting.setdefault(unit.shape, [])
        batch.append((unit, features))
        if len(batch) == self._batch_size:
            del self._waiting[unit.shape]
            self._run(batch)

    def _run(self, batch: list[tuple[np.ndarray, Features]]) -> None:
        units = [unit for unit, _ in batch]
        if len(units) == 1:
            # oneDNN computes a single image another way, which differs in the last
            # bits; from two on, what an image gives does not depend on its company.
            units *= 2
        try:
            rows = self.backbone(np.concatenate(units)) if batch else []
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].error = error
            else:  # the others are not to blame
                for one in batch:
                    self._run([one])
            return
        for (_, features), row in zip(batch, rows, strict=False):
            features.rows.append(row)
