"""The settings of pages of matchmaps: which clips, and what counts as a match."""

import dataclasses

from avl_tf.settings import SEEDS, setting


@dataclasses.dataclass(frozen=True)
class LocalizationConfig:
    """Which clips avl_tf.matchmaps shows, and which spans of them."""

    recordings: tuple[str, ...] = setting(
        (), "Ids of the records to show; if left out --n of them at random."
    )
    n: int = setting(8, "Clips to show at random.", lower=1, upper=1000)
    seed: int = setting(0, "Of the draw.", upper=SEEDS)
    threshold: float = setting(
        0.6,
        "A span is where some place of the matchmap reaches this part of the clip's "
        "highest value.",
        lower=0.01,
        upper=1.0,
    )
    audio_labels: str = setting(
        "auto",
        "Where the words are that stand beside the spans: as in avl_tf.concepts.",
    )
