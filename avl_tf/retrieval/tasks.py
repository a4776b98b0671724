"""What workers are asked for an index, without the TensorFlow that they do it with."""

import dataclasses

from avl_tf.retrieval.entries import Embedded, ModelNote, Source
from avl_tf.retrieval.origins import Wanted
from avl_tf.retrieval.windows import WindowConfig
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits


@dataclasses.dataclass(frozen=True)
class Model:
    """A model and the files that its eyes need, as a worker finds them."""

    path: str
    weights_2d: str = ""
    weights_3d: str = ""
    limits: Limits = DEFAULT_LIMITS


@dataclasses.dataclass(frozen=True)
class About:
    """What a worker tells of a model: see RecordEmbedder.

    hears: the languages that have a branch each; () where one hears all.
    """

    note: ModelNote
    trained_s: float
    sees_images: bool
    hears: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Task:
    """Recordings of media (one), or the records of one shard.

    folder: where the sound of a long recording waits; None is in memory.
    """

    model: Model
    wanted: tuple[Wanted, ...]
    config: WindowConfig
    records: str = ""
    folder: str | None = None


@dataclasses.dataclass(frozen=True)
class Failed:
    """Why a source could not be embedded."""

    source: Source
    reason: str


def describe(model: Model, held: ModelNote | None, index_dir: str) -> About:
    """As making.describe."""
    from avl_tf.retrieval import making

    return making.describe(model, held, index_dir)


def require_eyes(model: Model) -> None:
    """As making.require_eyes."""
    from avl_tf.retrieval import making

    making.require_eyes(model)


def list_records(model: Model, path: str) -> list[tuple[str, str, str, str]]:
    """As making.list_records."""
    from avl_tf.retrieval import making

    return making.list_records(model, path)


def make(task: Task) -> list[Embedded | Failed]:
    """As making.make."""
    from avl_tf.retrieval import making

    return making.make(task)
