"""Where somebody speaks: sound comes in bit by bit, spans of speech go out.

Segmenters go by name: "silero", a small network that comes in a package of its own, and
"inaspeech", the paper's, an extra. Each takes blocks of sound by feed() and returns
[(start_s, end_s), ...] by finish(); what it loads is loaded by another process.
"""

import importlib.util
import os
import tempfile
from collections.abc import Iterable

import numpy as np

from avl_tf import media
from avl_tf.errors import UserError
from avl_tf.media import SAMPLE_RATE
from data_prep.builder import segmenter_process
from data_prep.builder.build_config import PAUSES_S

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
        raise UserError(f"no segmenter '{name}'. There are: {', '.join(PAUSES_S)}.")
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
        self._process = segmenter_process.take("silero_process")
        self._process.ask(b"0\n")
        self._rest = np.zeros(0, np.float32)
        self._probabilities: list[float] = []

    def feed(self, waveform: np.ndarray) -> None:
        """Takes the next float32 [S] at SAMPLE_RATE.

        Raises:
            RuntimeError: the process of the network has ended; says how.
        """
        sound = np.concatenate([self._rest, waveform])
        n_windows = len(sound) // _WINDOW
        self._rest = sound[n_windows * _WINDOW :]
        if n_windows:
            windows = sound[: n_windows * _WINDOW].tobytes()
            self._probabilities += self._process.ask(b"%d\n" % n_windows, windows)

    def finish(self) -> list[Span]:
        """Returns the spans of speech in all that was fed, in seconds, or raises."""
        self.feed(np.zeros(_WINDOW - 1, np.float32))
        segmenter_process.put_back(self._process)
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
    """inaSpeechSegmenter 0.6.8 (speech, music, noise).

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
            RuntimeError: its process has ended; says how.
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
            process = segmenter_process.take(
                "inaspeech_process",
                TF_USE_LEGACY_KERAS="1",  # It was made with Keras 2.
            )
            spans = process.ask(os.fsencode(path), b"\n")
            segmenter_process.put_back(process)
        self._spans += [
            (start_s + begin_s, start_s + end_s) for begin_s, end_s in spans
        ]
