"""Frames of one recording in, its features out: a CNN sees them in batches.

A batch holds the frames of one recording, so that its features depend on nothing else.
Without AVX-512, TensorFlow's sums depend on the shape of a batch and on a frame's place
in it: in the company of other recordings a feature would differ in its last bits.
"""

import collections
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from avl_tf.backbones import Backbone


class FrameBatches:
    """Runs the frames of a recording through a backbone while they come in."""

    def __init__(
        self,
        backbone: Backbone,
        pool: ThreadPoolExecutor,
        n_threads: int,
        repeats: bool = False,
        keep: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ):
        """Computes at most n_threads batches at a time, in the threads of the pool.

        With repeats, the same array put once more gets its feature without the CNN.
        keep takes the features of a batch, float32 [K, D], and returns what is kept.
        """
        self.backbone, self._keep = backbone, keep
        self._pool, self._n_threads = pool, n_threads
        # On a CPU larger batches gain nothing and need more memory.
        n_features = 32 if tf.config.list_physical_devices("GPU") else 4
        self._batch_size = n_features * backbone.frames_per_feature
        self._frames: list[np.ndarray] = []
        self._running: collections.deque[Future] = collections.deque()
        self._done: list[np.ndarray] = []
        self._repeats = repeats
        self._last: np.ndarray | None = None
        self._n_times: list[int] = []  # of each frame, with repeats

    def put(self, frame: np.ndarray) -> None:
        """Takes the next frame, uint8 [H, W, 3]; raises what the backbone raised."""
        if self._repeats:
            if frame is self._last:
                self._n_times[-1] += 1
                return
            self._last = frame
            self._n_times.append(1)
        self._frames.append(frame)
        if len(self._frames) == self._batch_size:
            self._start()

    def finish(self) -> list[np.ndarray]:
        """Ends the recording; what its last feature lacks in frames is black.

        Returns:
            What is kept of its features, in parts; none if there was no frame.

        Raises:
            What the backbone raised.
        """
        if self._frames:
            self._start()
        self._wait(0)
        if self._n_times:
            self._done = [np.repeat(np.concatenate(self._done), self._n_times, axis=0)]
        return self._done

    def forget(self) -> None:
        """Forgets all frames so far: they come anew, or the recording has failed."""
        for future in self._running:
            future.cancel()
        self._frames, self._done = [], []
        self._last, self._n_times = None, []
        self._running.clear()

    def _start(self) -> None:
        batch, self._frames = np.stack(self._frames), []
        self._running.append(self._pool.submit(self.backbone, batch))
        self._wait(self._n_threads - 1)

    def _wait(self, n_running: int) -> None:
        while len(self._running) > n_running:
            self._done.append(self._keep(self._running.popleft().result()))
