"""The settings of the analysis of units: which words count, and from when on."""

import dataclasses

from avl_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class UnitsConfig:
    """What avl_tf.units looks for; the defaults are the authors'."""

    audio_labels: str = setting(
        "auto",
        "Where the words and their times are: a field of the labels of the records or "
        "the manifest, none, or auto, the first of words, text_alignment, slides and "
        "names that has times.",
    )
    half_window_s: float = setting(
        0.04,
        "Seconds on each side of the middle of a code; words that they meet are its "
        "own (the authors': 0.04).",
        upper=10.0,
    )
    least_precision: float = setting(
        0.35,
        "From which precision on a code detects a word (the authors': 0.35).",
        upper=1.0,
    )
    least_f1: float = setting(
        0.5,
        "From which F1 on a word has a code of its own (the authors': 0.5).",
        upper=1.0,
    )
    least_occurrences: int = setting(
        1,
        "Spoken words that a code must be in for an F1 (the authors': 1).",
        lower=1,
    )
    stop_words: tuple[str, ...] = setting(
        (),
        "Words that no code is to detect (the authors, of English: a, an, the, and, "
        "of, to, on, in, at, are, is, it, he, she, you, there, this).",
    )
    n_shown: int = setting(
        10, "Codes of each layer in the table and on the page.", lower=1, upper=1000
    )
