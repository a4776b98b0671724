"""How much speech is in the clips of a corpus that somebody else has cut."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avl_tf import media
from avl_tf.manifest import Recording, media_files
from data_prep.builder import segmenters
from data_prep.builder.segmenters import Span

FIELD = "speech_s"


def find(recording: Recording, segmenter: str) -> list[Span]:
    """Finds where somebody speaks.

    Args:
        recording: of a manifest.
        segmenter: as of segmenters.make.

    Returns:
        Spans in seconds from the start of the recording, in order.

    Raises:
        MediaError, OSError: its sound cannot be read.
    """
    heard = segmenters.make(segmenter)
    for _, samples in media.decode(
        media_files.as_on_disk(recording.media),
        media.SAMPLE_RATE,
        start_s=recording.start_s,
        end_s=recording.end_s,
        wanted=recording.wanted,
    ):
        if samples is None:
            heard = segmenters.make(segmenter)
        else:
            heard.feed(samples.astype(np.float32) / 32768)
    return heard.finish()


def note(line: dict[str, Any], spans: Sequence[Span]) -> None:
    """Puts the seconds of speech into a line of a manifest, beside each clip.

    Args:
        line: is changed; without clips it is among the labels.
        spans: of find, which do not overlap.
    """
    if not line.get("clips"):
        line["labels"] = {**line.get("labels", {}), FIELD: _seconds(spans)}
        return
    line["clips"] = [
        {**clip, FIELD: _seconds(spans, clip["start_s"], clip["end_s"])}
        for clip in line["clips"]
    ]


def _seconds(
    spans: Sequence[Span], start_s: float = 0.0, end_s: float = float("inf")
) -> float:
    within = (min(b, end_s) - max(a, start_s) for a, b in spans)
    return round(sum(max(0.0, length_s) for length_s in within), 2)
