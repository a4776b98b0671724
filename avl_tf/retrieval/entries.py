"""What an index knows, as plain values; no TensorFlow here."""

import dataclasses
from typing import Any

import numpy as np

SIDES = ("visual", "audio")


@dataclasses.dataclass(frozen=True)
class ModelNote:
    """The model that an index was made with.

    path: its folder when the index was made; it may be elsewhere now. digest: of its
    weights and configuration, hex. golden: as Embedder.golden tells, plain JSON, or
    None.
    """

    path: str
    digest: str
    embedding_dim: int
    languages: tuple[str, ...] = ()
    golden: Any = None


@dataclasses.dataclass(frozen=True)
class Segment:
    """Windows [first_window, first_window + n_windows), and steps of their media."""

    number: int
    first_window: int
    n_windows: int
    n_steps: int


@dataclasses.dataclass(frozen=True)
class Window:
    """A span that was embedded, in seconds in the media file.

    media is the path of the file, "" if the index was made of records and nobody said
    where their media are. record_id is the line of a manifest, or the record.
    """

    id: int
    media_id: int
    recording_id: str
    media: str
    language: str
    start_s: float
    end_s: float
    label: str
    record_id: str


@dataclasses.dataclass(frozen=True)
class Span:
    """A window that is to be written.

    Attributes:
        start_s, end_s: seconds in the media file.
        label: "" or what a manifest says of it.
        first_step, n_steps: which of its medium's visual steps lie in it.
    """

    start_s: float
    end_s: float
    label: str = ""
    first_step: int = 0
    n_steps: int = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """A recording as it is asked for: a media file, or a span of one.

    Attributes:
        media: absolute path, or "" where nobody knows it.
        record_id: tells it from others of the same file.
        recording_id: what it counts as when hits are merged and shown.
        language: of its speech.
        digest: of all else that its vectors depend on; another digest, other vectors.
        origin: the folder, manifest or records that brought it: what of an origin is
            not there any more leaves the index.
        size, mtime_ns: of the file; 0 of none.
        content: SHA-256 of the file, hex; "" if it was not computed.
    """

    media: str
    record_id: str
    recording_id: str
    language: str = "und"
    digest: str = ""
    origin: str = ""
    size: int = 0
    mtime_ns: int = 0
    content: str = ""


@dataclasses.dataclass(frozen=True)
class Medium:
    """A Source as the index knows it.

    failure: why it has no windows, "" of others. removed: --remove took it out, and it
    stays out.
    """

    id: int
    source: Source
    duration_s: float
    n_windows: int
    failure: str = ""
    removed: bool = False


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What is kept of a source: N windows, their vectors, and K steps.

    Attributes:
        source: which.
        duration_s: of what was embedded.
        spans: the windows, N.
        visual, audio: [N, D]; rows of NaN where nothing is seen, or heard.
        steps: [K, D], the visual embedding of each visual time step; K may be 0.
        first_step_s, step_s: where the first step begins in the media file, and what
            each takes, in seconds.
    """

    source: Source
    duration_s: float
    spans: tuple[Span, ...]
    visual: np.ndarray
    audio: np.ndarray
    steps: np.ndarray
    first_step_s: float = 0.0
    step_s: float = 0.0
