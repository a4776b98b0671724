"""The settings of training clips: what is read, and how clips are cut from it."""

import dataclasses
from collections.abc import Iterable
from typing import Protocol

from avl_tf import comma_lists
from avl_tf.errors import UserError
from avl_tf.settings import SEEDS, setting

SAMPLINGS = ("random", "annotated", "whole")


class _Counted(Protocol):
    """A set of records, or a span of one."""

    @property
    def n_records(self) -> int: ...

    @property
    def n_clips(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Which training records are read, and how clips are cut from them."""

    clip_sampling: str = setting(
        "random",
        "Training clips: random windows of whole recordings (the papers), the "
        "annotated clips, or each recording as a whole.",
        choices=SAMPLINGS,
    )
    clip_s: float = setting(
        10.0,
        "Seconds a training clip: random windows are as long, other clips are padded "
        "or cut to it (the paper: 10 in pre-training, 51.2 in fine-tuning).",
        lower=0.1,
        upper=86_400,
    )
    min_clip_s: float = setting(
        0.0,
        "Seconds to which an annotated clip grows, by the clip beside it that is "
        "nearer, and again (AVLnet's clips of speech recognition: 10); 0 leaves them.",
        upper=86_400,
    )
    clips_per_recording: int = setting(
        32,
        "Random windows drawn from a recording each epoch (the paper: 32).",
        lower=1,
        upper=100_000,
    )
    shuffle_clips: int = setting(
        0,
        "Clips held back to be mixed across recordings; 0 fills batches with whole "
        "recordings' windows, as the authors.",
    )
    log_mel_reference: str = setting(
        "stored",
        "Whose loudest bin is 0 dB: as stored in the records, or each clip's own.",
        choices=("stored", "clip"),
    )
    fraction: float = setting(
        1.0,
        "Part of the training recordings that is used; a smaller part lies within a "
        "larger one (Figure 3 of the cascaded paper: 0.02 to 1).",
        lower=1e-6,
        upper=1.0,
    )
    fraction_seed: int = setting(0, "Seed of which part --fraction takes.", upper=SEEDS)
    on_corrupt: str = setting(
        "error",
        "A damaged training record: stop and name it, or skip it. For skip, all "
        "training records are read once before the first step.",
        choices=("error", "skip"),
    )
    join_by: str = setting(
        "recording",
        "What joins the records of several languages: recording (their recording_id; "
        "of Places, the image), image (the JPEG of --keep_images, else the label "
        "'image'), the name of another label, or similar (images alike by their frozen "
        "features: for sets without an image in common).",
    )
    similar_images: int = setting(
        5,
        "With --join_by=similar: so many records of each other language, those of the "
        "most similar images, of which each epoch draws one (Ohishi et al.: unstated).",
        lower=1,
        upper=1000,
    )
    language_fraction: tuple[str, ...] = setting(
        (),
        "--fraction of single languages of --records, as in ro=0.1: before they are "
        "joined, and in the place of --fraction.",
    )

    def __post_init__(self) -> None:
        """UserError for settings that contradict each other."""
        if self.min_clip_s and self.clip_sampling != "annotated":
            raise UserError(
                f"--min_clip_s={self.min_clip_s:g} is for --clip_sampling=annotated "
                f"only; leave it out of {self.clip_sampling}."
            )

    def fraction_of(self, languages: Iterable[str]) -> dict[str, float]:
        """The part that is used of each language's recordings.

        Raises:
            UserError: --language_fraction has another language, or no such number.
        """
        fractions = dict.fromkeys(languages, self.fraction)
        given = comma_lists.parse_named(
            self.language_fraction, "language_fraction", "FRACTION"
        )
        for language, text in given.items():
            if language not in fractions:
                named = ", ".join(filter(None, fractions))
                has = f"has {named}" if named else "names none: LANGUAGE=PATH does"
                raise UserError(
                    f"--language_fraction={language}={text}: no language of --records, "
                    f"which {has}."
                )
            try:
                fractions[language] = float(text)
            except ValueError:
                fractions[language] = 0.0
            if not 1e-6 <= fractions[language] <= 1:
                raise UserError(
                    f"--language_fraction={language}={text}: expected a number from "
                    "1e-06 to 1."
                )
        return fractions

    def heard_reference(self, stored: str) -> str:
        """Whose loudest bin is 0 dB in the clips of records: "recording" or "clip"."""
        return stored if self.log_mel_reference == "stored" else self.log_mel_reference

    def n_clips(self, records: _Counted) -> int:
        """Counts the clips that records give in one epoch."""
        if self.clip_sampling == "random":
            return records.n_records * self.clips_per_recording
        if self.clip_sampling == "annotated":
            return records.n_clips
        return records.n_records
