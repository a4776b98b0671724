"""What a corpus of images with spoken captions is made of: its settings."""

import dataclasses
import math
from typing import Any

from avl_tf import settings
from avl_tf.errors import UserError
from avl_tf.settings import SEEDS, setting
from data_prep.demo_videos.corpus_config import (
    Recipe,
    check_languages,
    parse_counts,
)

_RECIPE = Recipe(height=256, width=256)


@dataclasses.dataclass(frozen=True)
class ImageCorpusConfig:
    """All that a corpus depends on beside the stamps.

    Attributes:
        max_name_s, max_sound_s: see choose_concepts.
        recipe: see Recipe; fps and slide_s play no part.

    Raises:
        ValueError: settings that do not go together; names them.
    """

    languages: tuple[str, ...] = setting(
        ("es", "ro", "ca"),
        "Languages as the package names them: es, fr, ru, ro, ca, bg, ...",
    )
    train_images: tuple[str, ...] | None = setting(
        None,
        "Numbers of training images with a caption, LANG:N,LANG:N,... with one entry "
        "for each language: the first N of them. Default: 2000 for the first of "
        "--languages, 300 for the others.",
    )
    val_images: int = setting(200, "Number of validation images.", upper=1_000_000)
    eval_images: int = setting(300, "Number of evaluation images.", upper=1_000_000)
    n_concepts: int = setting(
        48, "Number of different stamps, half of them with a natural sound.", lower=1
    )
    min_names: int = setting(
        2, "Fewest stamps in an image, and names in a caption.", lower=1, upper=100
    )
    max_names: int = setting(3, "Most stamps in an image.", lower=1, upper=100)
    max_name_s: float = 1.4
    max_sound_s: float = 0.5
    seed: int = setting(0, "Seed of all random choices.", upper=SEEDS)
    recipe: Recipe = _RECIPE

    def __post_init__(self) -> None:
        counts = self.n_train_images
        check_languages(self.languages, counts, "images")
        if self.min_names > self.max_names:
            raise UserError(
                f"--min_names={self.min_names} is above --max_names={self.max_names}."
            )
        if not (self.val_images + self.eval_images or all(counts.values())):
            raise UserError("every language needs at least one image.")
        sizes = range(self.min_names, self.max_names + 1)
        n_held_out = self.val_images + self.eval_images
        fewest = min(math.comb(self.n_concepts, size) for size in sizes)
        # Half of them stay for training, and drawing ends soon.
        if 2 * n_held_out > fewest * len(sizes):
            raise UserError(
                f"{self.n_concepts} concepts make too few combinations for "
                f"{n_held_out} images of validation and evaluation that training has "
                "not. Ask for more --n_concepts or --max_names, or fewer images."
            )

    @property
    def n_train_images(self) -> dict[str, int]:
        """Language -> its number of training images."""
        return parse_counts(
            "train_images", self.train_images, self.languages, (2000, 300)
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """All settings as plain JSON, for the data card."""
        return {**settings.plain(self), "train_images": self.n_train_images}

    @property
    def n_images(self) -> dict[str, int]:
        """Split -> its number of images, in the manifests' order."""
        n_train = max(self.n_train_images.values())
        return {"train": n_train, "val": self.val_images, "eval": self.eval_images}

    def n_captions(self, language: str, split: str) -> int:
        """How many images of a split, from the first on, a language has."""
        n_train = self.n_train_images[language]
        return n_train if split == "train" else self.n_images[split]
