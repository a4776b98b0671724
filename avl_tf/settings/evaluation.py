"""The settings of evaluation: on what, how, and how sure its numbers are."""

import dataclasses

from avl_tf.errors import UserError
from avl_tf.settings import SEEDS, setting

_SHORTEST_S = 0.1


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What a model is evaluated on and how, in training and afterwards."""

    evaluate: tuple[str, ...] = setting(
        (),
        "Evaluation sets, name=records with commas between; one that holds a comma "
        "itself stands in double quotes. Of several languages, "
        "name=es=records+ro=records.",
    )
    evaluation_clip_s: float = setting(
        0.0,
        "Seconds that evaluation clips are padded or cut to (the authors: 51.2 for "
        "YouCook2, 30.72 for MSR-VTT); 0 hears each set's clips whole, up to 51.2.",
        upper=86_400,
    )
    evaluation_batch_size: int = setting(
        64,
        "Clips embedded at once in evaluation; recall is over the whole set.",
        lower=1,
    )
    evaluation_population: int = setting(
        0,
        "Queries that recall is divided by when clips are missing and count as misses "
        "(MSR-VTT: 1000, of which 968 have sound); 0 is the clips there are.",
    )

    def __post_init__(self) -> None:
        if 0 < self.evaluation_clip_s < _SHORTEST_S:
            raise UserError(
                f"--evaluation_clip_s={self.evaluation_clip_s}: expected {_SHORTEST_S} "
                "or more, or 0 to hear each set's clips whole."
            )


@dataclasses.dataclass(frozen=True)
class ResamplingConfig:
    """How often queries are drawn again, and from which seed."""

    resamples: int = setting(
        10_000,
        "Resamples of the queries for confidence intervals and p values.",
        lower=1,
        upper=1_000_000,
    )
    resampling_seed: int = setting(0, "Seed of the resamples.", upper=SEEDS)
