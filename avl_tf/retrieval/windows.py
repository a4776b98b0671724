"""Which spans of a recording an index holds; no TensorFlow here."""

import dataclasses
import math
from collections.abc import Sequence

from avl_tf.errors import UserError
from avl_tf.retrieval.entries import Span
from avl_tf.settings import setting

USUAL_S = 10.0
_MOST = 1_000_000


@dataclasses.dataclass(frozen=True)
class WindowConfig:
    """How recordings are cut into the spans that are searched."""

    windows: str = setting(
        "overlapping",
        "What is searched: overlapping windows of all media, or the clips that the "
        "lines of a --manifest (the records of --records) have; data_prep.build finds "
        "the speech of videos, and its manifest has a clip a speech segment.",
        choices=("overlapping", "clips"),
    )
    window_s: float | None = setting(
        None,
        "Seconds a window; if left out those of the random clips that the model was "
        "trained on, else 10.",
        lower=0.1,
        upper=600.0,
    )
    window_hop_s: float | None = setting(
        None,
        "Seconds from a window to the next; if left out half of --window_s.",
        lower=0.05,
        upper=600.0,
    )

    def settled(self, trained_s: float) -> "WindowConfig":
        """With seconds in place of what was left out.

        Args:
            trained_s: seconds of the clips of the model's training; 0 is not known.

        Raises:
            UserError: windows would leave gaps.
        """
        window_s = self.window_s or trained_s or USUAL_S
        hop_s = self.window_hop_s or window_s / 2
        if hop_s > window_s:
            raise UserError(
                f"--window_hop_s={hop_s:g} is longer than --window_s={window_s:g}: "
                "what lies between two windows would never be found."
            )
        return dataclasses.replace(self, window_s=window_s, window_hop_s=hop_s)


def overlapping(duration_s: float, window_s: float, hop_s: float) -> list[Span]:
    """Cuts a recording into windows of the same length.

    Args:
        duration_s: of the recording; one that is shorter than a window is one.
        window_s, hop_s: seconds of a window, and from one to the next.

    Returns:
        Spans from its start; the last ends with it.

    Raises:
        UserError: there would be more than a million.
    """
    last_s = max(0.0, duration_s - window_s)
    # What is left of a hop by rounding is no window of its own.
    n_hops = math.ceil(last_s / hop_s - 1e-6)
    if n_hops >= _MOST:
        raise UserError(
            f"{duration_s:.0f} s would be {n_hops} windows: use a longer "
            "--window_hop_s."
        )
    starts = [hop_s * index for index in range(n_hops)] + [last_s]
    return [Span(start, min(start + window_s, duration_s)) for start in starts]


def of_recording(
    config: WindowConfig, duration_s: float, clips: Sequence[tuple[float, float, str]]
) -> list[Span]:
    """The spans of a recording, in seconds from its start.

    Args:
        config: settled.
        duration_s: of the recording.
        clips: (start, end, label) of those that it has; without any it is one.
    """
    if config.windows == "clips":
        every = clips or [(0.0, duration_s, "")]
        return [Span(start, end, label) for start, end, label in every]
    if config.window_s is None or config.window_hop_s is None:
        raise ValueError("windows are not settled")
    return overlapping(duration_s, config.window_s, config.window_hop_s)


def with_steps(spans: Sequence[Span], n_steps: int, step_s: float) -> list[Span]:
    """Tells which visual steps lie in spans, at least one if there is any.

    Args:
        spans: in seconds from the first step's beginning.
        n_steps: of the recording.
        step_s: seconds a step.
    """
    found = []
    for span in spans:
        first = min(int(span.start_s / step_s), n_steps - 1) if n_steps else 0
        behind = min(math.ceil(span.end_s / step_s - 1e-6), n_steps)
        n_within = max(behind - first, 1) if n_steps else 0
        found.append(dataclasses.replace(span, first_step=first, n_steps=n_within))
    return found
