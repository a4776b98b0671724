"""The settings of a build: the recipe, and what a program's flags say besides."""

import dataclasses

from avl_tf.errors import UserError
from avl_tf.manifest import SPLITS
from avl_tf.settings import SEEDS, setting
from avl_tf.settings.limits import Limits

# Pauses that belong to what is said, seconds. silero hears every breath; the paper took
# inaSpeechSegmenter's segments as they are.
PAUSES_S = {"silero": 0.5, "inaspeech": 0.0}
# What two videos can have in common: kinds of avl_tf.near_duplicates.
KINDS = ("audio", "frames")


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """The recipe; ValueError for settings that contradict each other."""

    segmenter: str = setting(
        "silero",
        "What finds speech; the paper: inaspeech, an extra that has to be installed.",
        choices=tuple(PAUSES_S),
    )
    pause_s: float | None = setting(
        None,
        "Speech goes on over pauses up to this, in seconds; if left out 0.5 with "
        "silero and 0 with inaspeech (the paper).",
    )
    min_s: float = setting(5.0, "Shortest clip, in seconds (the paper: 5).", lower=0.1)
    max_s: float = setting(50.0, "Longest clip, in seconds (the paper: 50).", lower=0.1)
    n_train: int = setting(
        10000,
        "Clips for training, at most (the paper). The three numbers are also the "
        "shares of the videos that the splits get.",
    )
    n_val: int = setting(3000, "Clips for validation, at most (the paper).")
    n_eval: int = setting(3000, "Clips for evaluation, at most (the paper).")
    seed: int = setting(
        0, "Seed of the deal to splits and of the choice of clips.", upper=SEEDS
    )
    near_duplicates: tuple[str, ...] = setting(
        KINDS,
        "What two videos must have in common to be kept in one split, audio or frames; "
        "empty: nothing counts.",
    )

    def __post_init__(self):
        if self.min_s > self.max_s:
            raise UserError(
                f"--min_s={self.min_s} is more than --max_s={self.max_s}: no clip fits."
            )
        if not sum(self.wanted.values()):
            raise UserError("--n_train, --n_val and --n_eval are 0: nothing to build.")
        for kind in self.near_duplicates:
            if kind not in KINDS:
                raise UserError(
                    f"--near_duplicates has '{kind}', expected some of "
                    f"{','.join(KINDS)}."
                )

    @property
    def wanted(self) -> dict[str, int]:
        """Split -> its number of clips, at most."""
        numbers = (self.n_train, self.n_val, self.n_eval)
        return dict(zip(SPLITS, numbers, strict=True))


@dataclasses.dataclass(frozen=True)
class BuildJob:
    """One build.

    Attributes:
        videos, out_dir: folders.
        language: what is spoken.
        recipe: how clips are made and dealt.
        limits: how large pictures may be.
        track: which sound is meant, as a line of a manifest has it.
        decisions: file that the review page has saved; "" for none.
        review: write the review page.
        licences: for the data card.
        keep_splits: videos stay in the split that an earlier manifest has.
        n_workers: processes.
        retry_failed: try videos again that failed and have not changed.
    """

    videos: str
    out_dir: str
    language: str
    recipe: BuildConfig
    limits: Limits
    track: int | str | None
    decisions: str
    review: bool
    licences: str
    keep_splits: bool
    n_workers: int
    retry_failed: bool
