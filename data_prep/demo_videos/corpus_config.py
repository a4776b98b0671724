"""What a corpus of narrated slide shows is made of: its settings, and its videos."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

from avl_tf import settings
from avl_tf.errors import UserError
from avl_tf.manifest import SPLITS
from avl_tf.settings import SEEDS, setting
from data_prep.demo_videos.stamp_package import PACKAGE


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """What is built of; nothing of it changes what is built of the same stamps."""

    stamps_dir: str | None = setting(
        None,
        "Folder of stamps, for a machine without apt: that of Debian's package "
        f"{PACKAGE}, unpacked elsewhere. Default: fetch the package.",
    )
    synthetic: bool = setting(
        False, "Use drawn shapes and synthesised words; fetch nothing."
    )

    def __post_init__(self) -> None:
        if self.synthetic and self.stamps_dir:
            raise UserError("--synthetic and --stamps_dir exclude each other.")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a slide show is made by; ranges are drawn from evenly, for each showing.

    Attributes:
        height, width, fps: of the video.
        slide_s: range of the time a slide is shown, unless its audio needs longer.
        lead_s, gap_s, tail_s: silence before the audio of a slide, between natural
            sound and name, and after.
        sound_probability: that a name is preceded by the natural sound, if it has one.
        speed: range of the name's speed; the pitch changes with it.
        gain: range of the gain of name and, drawn by itself, sound.
        scale: range of the stamp's size relative to the largest that fits the frame.
        noise: root mean square of the noise under all, full scale is 1.
    """

    height: int = 240
    width: int = 320
    fps: int = 10
    slide_s: tuple[float, float] = (1.5, 3.0)
    lead_s: float = 0.15
    gap_s: float = 0.1
    tail_s: float = 0.15
    sound_probability: float = 0.5
    speed: tuple[float, float] = (0.93, 1.07)
    gain: tuple[float, float] = (0.5, 1.0)
    scale: tuple[float, float] = (0.65, 0.95)
    noise: float = 0.001


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """All that a corpus depends on beside the stamps.

    Attributes:
        max_name_s, max_sound_s: see choose_concepts.
        recipe: see Recipe.

    Raises:
        ValueError: settings that do not go together; names them.
    """

    languages: tuple[str, ...] = setting(
        ("es", "ro", "ru"),
        "Languages as the package names them: es, fr, ru, ro, ca, bg, ...",
    )
    train_videos: tuple[str, ...] | None = setting(
        None,
        "Numbers of training videos, LANG:N,LANG:N,... with one entry for each "
        "language. Default: 64 for the first of --languages, 10 for the others.",
    )
    val_videos: int = setting(
        10, "Number of validation videos per language.", upper=100_000
    )
    eval_videos: int = setting(
        20, "Number of evaluation videos per language.", upper=100_000
    )
    n_concepts: int | None = setting(
        None,
        "Number of different stamps, half of them with a natural sound. Default: 80, "
        "or 24 for the synthetic corpus.",
        lower=1,
    )
    video_s: float = setting(
        45.0,
        "Length of a video, in seconds; rounded up to whole frames.",
        upper=86_400,
    )
    clip_s: float = setting(
        6.0, "Length of the clips named in the manifest, in seconds.", upper=86_400
    )
    max_name_s: float = 2.6
    max_sound_s: float = 1.5
    seed: int = setting(0, "Seed of all random choices.", upper=SEEDS)
    recipe: Recipe = Recipe()

    def __post_init__(self) -> None:
        counts = self.n_train_videos
        check_languages(self.languages, counts, "videos")
        others = (self.val_videos, self.eval_videos)
        if min(others) < 0 or min(counts.values()) + sum(others) < 1:
            raise UserError(
                f"numbers of videos are {counts} for training, "
                f"{self.val_videos} for validation, {self.eval_videos} for evaluation: "
                "none may be negative, and every language needs at least one video."
            )
        if not 0 < self.clip_s <= self.video_s < math.inf:
            raise UserError(
                f"a video has {self.video_s:g} s and a clip {self.clip_s:g} s: a video "
                "must hold at least one clip. Make videos longer or clips shorter."
            )

    @property
    def n_frames(self) -> int:
        """Number of frames in a video."""
        return math.ceil(self.video_s * self.recipe.fps - 1e-6)

    @property
    def n_train_videos(self) -> dict[str, int]:
        """Language -> its number of training videos."""
        return parse_counts("train_videos", self.train_videos, self.languages, (64, 10))

    @property
    def parameters(self) -> dict[str, Any]:
        """All settings as plain JSON, for the data card."""
        return {**settings.plain(self), "train_videos": self.n_train_videos}

    def videos(self) -> list[tuple[str, str, int]]:
        """(language, split, number) of every video, in the manifests' order."""
        counts = {"val": self.val_videos, "eval": self.eval_videos}
        n_train = self.n_train_videos
        return [
            (language, split, number)
            for language in self.languages
            for split in SPLITS
            for number in range(counts.get(split, n_train[language]))
        ]


def parse_counts(
    flag: str,
    entries: Sequence[str] | None,
    languages: Sequence[str],
    defaults: tuple[int, int],
) -> dict[str, int]:
    """Reads LANG:N entries.

    Args:
        flag: name of the flag that they are from.
        entries: None means the defaults.
        languages: what the defaults are for.
        defaults: for the first language, and for the others.

    Raises:
        ValueError: an entry is not of that form, or a language is given twice.
    """
    if entries is None:
        return {name: defaults[min(i, 1)] for i, name in enumerate(languages)}
    counts: dict[str, int] = {}
    for entry in entries:
        match = re.fullmatch(r"([^:]+):([0-9]+)", entry.strip())
        if not match or match[1] in counts:
            raise UserError(
                f"--{flag}: '{entry}': expected LANG:N, such as es:64, with one entry "
                "for each language."
            )
        counts[match[1]] = int(match[2])
    return counts


def check_languages(names: Sequence[str], counts: dict[str, int], what: str) -> None:
    """UserError unless there are languages, named as folders, with a count each."""
    if not names or len(set(names)) < len(names):
        raise UserError(f"languages {list(names)}: give at least one, none twice.")
    for name in names:
        if not re.fullmatch(r"[A-Za-z][A-Za-z_]*", name):  # it names a folder
            raise UserError(f"language '{name}': expected a code such as es.")
    if set(counts) != set(names):
        raise UserError(
            f"training {what} are given for {sorted(counts)}, but the languages are "
            f"{sorted(names)}: give one for each."
        )
