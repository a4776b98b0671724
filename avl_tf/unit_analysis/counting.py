"""Codes and timed words in; out come precision, recall and F1 of each pair."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from avl_tf.exhibits.spans import Span
from avl_tf.settings.units import UnitsConfig


class Unit(NamedTuple):
    """A code as a detector of a word.

    precision: the fraction of the code's steps that meet the word. recall: the fraction
    of the spoken words of this kind that hold the code. n_steps: of the code. n_words:
    spoken words of this kind that hold it.
    """

    code: int
    word: str
    precision: float
    recall: float
    f1: float
    n_steps: int
    n_words: int


class Summary(NamedTuple):
    """What a layer's codes come to.

    n_codes, n_used: in the codebook, and of them in the set. perplexity: of all steps,
    as if so many codes were used equally often. n_steps: of the set. n_types, n_tokens:
    words, and how often they are spoken. n_detectors: codes of least_precision for a
    word. n_detected: words of which there is one. n_words: words with a code of
    least_f1. mean_f1: of the best code of each word.
    """

    n_codes: int
    n_used: int
    perplexity: float
    n_steps: int
    n_types: int
    n_tokens: int
    n_detectors: int
    n_detected: int
    n_words: int
    mean_f1: float


class Counts:
    """How often codes and words meet, added up over the clips of a set.

    Source: Harwath et al. 2020 (Learning Hierarchical Discrete Linguistic Units from
        Visually-Grounded Speech) section 4.3; authors' steps/unit_analysis.py.
    Differs: silence is no word here; theirs has a precision, and no recall.
    """

    def __init__(self, n_codes: int, half_window_s: float):
        self._half_s = half_window_s
        self._steps = np.zeros(n_codes, np.int64)  # of each code
        self._tokens: dict[str, int] = {}
        # By word: the steps of each code that meet it; its tokens that hold each code.
        self._meeting: dict[str, np.ndarray] = {}
        self._holding: dict[str, np.ndarray] = {}

    def add(self, codes: np.ndarray, step_s: float, words: Sequence[Span]) -> None:
        """Counts a clip.

        Args:
            codes: int [T'], one a step.
            step_s: seconds of a step.
            words: spoken in it, seconds from its start; those that lie beyond its steps
                are left out.
        """
        np.add.at(self._steps, codes, 1)
        middles = (np.arange(len(codes)) + 0.5) * step_s
        meeting: dict[str, np.ndarray] = {}
        for start, end, word in words:
            # As theirs: a step is within if it meets the word at all.
            first = max(0, int(np.floor(start / step_s + 1e-6)))
            last = min(len(codes), int(np.ceil(end / step_s - 1e-6)))
            if last <= first:
                continue
            near = (middles - self._half_s <= end) & (middles + self._half_s > start)
            meeting[word] = meeting.get(word, False) | near
            self._tokens[word] = self._tokens.get(word, 0) + 1
            held = self._holding.setdefault(word, np.zeros_like(self._steps))
            held[np.unique(codes[first:last])] += 1
        for word, near in meeting.items():
            met = self._meeting.setdefault(word, np.zeros_like(self._steps))
            np.add.at(met, codes[near], 1)

    def units(
        self, least_occurrences: int = 1, stop_words: Collection[str] = ()
    ) -> list[Unit]:
        """All pairs of a code and a word that meet, the highest F1 first."""
        found = []
        for word, meeting in self._meeting.items():
            if word in stop_words:
                continue
            holding = self._holding[word]
            for code in np.flatnonzero(meeting):
                if holding[code] < least_occurrences:
                    continue
                precision = meeting[code] / self._steps[code]
                recall = holding[code] / self._tokens[word]
                f1 = 2 * precision * recall / (precision + recall)
                found.append(
                    Unit(
                        int(code),
                        word,
                        float(precision),
                        float(recall),
                        float(f1),
                        int(self._steps[code]),
                        int(holding[code]),
                    )
                )
        return sorted(found, key=lambda unit: (-unit.f1, unit.code, unit.word))

    def summary(self, config: UnitsConfig, stop_words: Collection[str] = ()) -> Summary:
        """The layer as a whole."""
        steps = self._steps[self._steps > 0]
        shares = steps / max(1, steps.sum())
        units = self.units(config.least_occurrences, stop_words)
        # Precision does not ask how often.
        all_units = self.units(0, stop_words)
        sure = [u for u in all_units if u.precision >= config.least_precision]
        best: dict[str, float] = {}
        for unit in units:
            best.setdefault(unit.word, unit.f1)
        f1s = list(best.values())
        return Summary(
            n_codes=len(self._steps),
            n_used=len(steps),
            perplexity=float(np.exp(-np.sum(shares * np.log(shares)))),
            n_steps=int(steps.sum()),
            n_types=len(self._tokens),
            n_tokens=sum(self._tokens.values()),
            n_detectors=len({unit.code for unit in sure}),
            n_detected=len({unit.word for unit in sure}),
            n_words=sum(f1 >= config.least_f1 for f1 in f1s),
            mean_f1=float(np.mean(f1s)) if f1s else 0.0,
        )


def runs(codes: np.ndarray, step_s: float, start_s: float = 0.0) -> list[Span]:
    """Spans of equal codes side by side, from a second of the recording on."""
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1), len(codes)]
    return [
        Span(start_s + a * step_s, start_s + b * step_s, str(codes[a]))
        for a, b in zip(edges, edges[1:], strict=False)
        if a < b
    ]
