"""The settings of concept discovery: which inputs count, and how much is shown."""

import dataclasses

from avl_tf.settings import setting


@dataclasses.dataclass(frozen=True)
class DiscoveryConfig:
    """What avl_tf.concepts looks for, and what it shows."""

    k: int = setting(
        50,
        "Inputs of each modality that excite a dimension most (AVLnet: 50). No more "
        "than a word occurs in the set, or no dimension can be pure.",
        lower=1,
        upper=10_000,
    )
    window_s: float = setting(
        2.0,
        "Seconds around an audio step whose words are its own (AVLnet: 2). Steps of a "
        "recording that are nearer than this are one input, the highest.",
        lower=0.1,
        upper=60.0,
    )
    audio_labels: str = setting(
        "auto",
        "Where the words are: a field of the manifest's labels, clips (the labels of "
        "clips), none, or auto, the first of words, slides, names and clips.",
    )
    visual_labels: str = setting(
        "auto",
        "Where the labels of what is seen are: as --audio_labels; auto is the first of "
        "slides, names, objects and clips.",
    )
    n_dimensions: int = setting(
        10, "Best dimensions that the page and the tiers show.", lower=1, upper=1000
    )
    n_shown: int = setting(
        8, "Inputs of each modality that the page shows.", lower=1, upper=1000
    )
    n_clusters: int = setting(
        0,
        "Clusters of spans that sound alike; 0 is one for six spans.",
        upper=10_000,
    )
    n_random: int = setting(
        5,
        "Random projections that the dimensions are compared with; 0 for none.",
        upper=100,
    )
    seed: int = setting(0, "Of the random projections and the clusters.", upper=10**9)
