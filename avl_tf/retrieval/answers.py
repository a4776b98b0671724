"""What a search gives back; no TensorFlow here."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Hit:
    """A moment that was found.

    Attributes:
        rank: 1 is the best.
        recording_id: of the recording.
        media, media_id: its file, "" if nobody knows it, and the index's number of it.
        start_s, end_s: the moment, in seconds of the media file.
        score: a dot product, larger is better.
        match: whether the query fits anything; None of an index without calibration.
        precision: how often a hit of this score is right; None as match.
        window_id: of the window that stands for the moment.
        missing: why the file cannot be played now, "" if it can.
        language, label: of the recording, and of the window; "" if nobody said.
    """

    rank: int
    recording_id: str
    media: str
    media_id: int
    start_s: float
    end_s: float
    score: float
    match: bool | None
    precision: float | None
    window_id: int
    missing: str
    language: str = ""
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a search found.

    Attributes:
        hits: the moments, the best first.
        match: whether the query fits anything in the index at all; None if the index
            has no calibration for such a search.
        threshold: the score of the best hit from which on it is a match, or None.
        error_rate: of queries that fit nothing, so many at most are called a match.
        calibrated: with what, or why not and how, in a line.
    """

    hits: tuple[Hit, ...]
    match: bool | None
    threshold: float | None
    error_rate: float
    calibrated: str

    def as_list(self) -> list[dict[str, Any]]:
        """The hits as JSON has them: their fields, threshold, and calibrated as reason.

        threshold is None of a query that is unlike all that it was calibrated with.
        """
        told = {"threshold": self.threshold, "reason": self.calibrated}
        return [dataclasses.asdict(hit) | told for hit in self.hits]
