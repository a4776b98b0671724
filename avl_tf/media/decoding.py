"""Sound and frames of a file, in one pass over it.

A path comes in; samples and frames come out as they are decoded.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from avl_tf.errors import UserError
from avl_tf.media.file import MediaFile
from avl_tf.media.opening import Note, require_file
from avl_tf.media.packets import Kind
from avl_tf.media.pictures import Pictures, View, exact
from avl_tf.media.sound import Sound, first_second
from avl_tf.media.timetable import Unsure
from avl_tf.media.tracks import ANY, Wanted
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits

# Where sound must be counted from the start of a file, pictures further on than this
# are sought in a pass of their own.
_NEAR_S = 3


def decode(
    path: str | os.PathLike,
    sample_rate: int | None,
    views: Sequence[View] = (),
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_truncated: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    notes: list[Note] | None = None,
    wanted: Wanted = ANY,
    sparing: bool = False,
) -> Iterator[tuple[int | None, np.ndarray | None]]:
    """Decodes the sound and the frames of a file in one pass, a little at a time.

    Args:
        path: a file with sound if sample_rate is given, with video if views are.
        sample_rate: Hz; None for no sound.
        views: how the frames are wanted; each frame is decoded once for all of them.
        start_s, end_s, allow_truncated: as read_waveform and iter_frames.
        limits: how long the span and how large the pictures may be.
        notes: takes what is worth telling of the file, each thing once.
        wanted: which sound is meant.
        sparing: decode no frame that no view needs, as far as that is told by the
            packets. The pictures are the same; damage that none of them shows passes.

    Yields:
        (None, int16 [S]): the next samples of what read_waveform returns, times 32768.
        (None, None): forget the samples so far; other ones come in their stead.
        (i, uint8 [H, W, 3]): the next frame of what iter_frames yields for views[i].
        (i, None): if sparing, forget them so far; they come anew.

    Raises:
        As read_waveform and iter_frames, MediaError for damage when it is reached.
    """
    start, end = _check_span(start_s, end_s)
    if sample_rate is not None and sample_rate < 1:
        raise UserError(f"sample_rate is {sample_rate}, expected a rate in Hz above 0.")
    require_file(path)
    opened_as = allow_truncated, limits, notes, wanted
    arguments = path, sample_rate, views, (start, end), opened_as
    return _sparingly(*arguments) if sparing and views else _decode(*arguments)


def _sparingly(path, sample_rate, views, span, opened_as):
    try:
        yield from _decode(path, sample_rate, views, span, opened_as, sparing=True)
    except Unsure:
        # Rare, and nearly always at the beginning of a file.
        yield from [(None, None), *((index, None) for index in range(len(views)))]
        yield from _decode(path, sample_rate, views, span, opened_as)


def _decode(path, sample_rate, views, span, opened_as, remedy=None, sparing=False):
    start, end = span
    with MediaFile(path, *opened_as) as file:
        file.require_length(start, end)
        begin = Fraction(first_second(file, start)) if sample_rate else start
        if not (sample_rate and views and start - begin > _NEAR_S):
            sound = None
            if sample_rate:
                sound = Sound(file, sample_rate, start, end, remedy)
            yield from _decode_file(file, begin, sound, views, span, sparing)
            if sound and (remedy := sound.remedy()):
                yield None, None
                yield from _decode(path, sample_rate, (), span, opened_as, remedy)
            return
    yield from _decode(path, sample_rate, (), span, opened_as)
    yield from _decode(path, None, views, span, opened_as, sparing=sparing)


def _decode_file(file, begin, sound, views, span, sparing):
    sinks: dict[Kind, list[tuple[int | None, Sound | Pictures]]] = {}
    if sound:
        sinks["audio"] = [(None, sound)]
    pictures = []
    if views:
        pictures = [Pictures(file, view, *span) for view in views]
        sinks["video"] = list(enumerate(pictures))
    finished: set[Kind] = set()
    timetables = [one.timetable for one in pictures] if sparing else ()
    for kind, timed in file.frames(list(sinks), begin, finished, timetables):
        for index, sink in sinks[kind]:
            for array in sink.feed(timed):
                yield index, array
        if all(sink.done for _, sink in sinks[kind]):
            finished.add(kind)
            if len(finished) == len(sinks):
                break
    for index, sink in (pair for pairs in sinks.values() for pair in pairs):
        for array in sink.finish():
            yield index, array


def collect(parts: Iterable[tuple[int | None, np.ndarray | None]]) -> np.ndarray:
    """Puts the samples that decode yields together; int16 [S]."""
    pieces: list[np.ndarray] = []
    for _, array in parts:
        if array is None:
            pieces.clear()
        else:
            pieces.append(array)
    return np.concatenate([np.zeros(0, np.int16), *pieces])


def _check_span(
    start_s: float, end_s: float | None
) -> tuple[Fraction, Fraction | None]:
    """Makes the limits exact; None stays None."""
    if not 0 <= start_s < math.inf or (end_s is not None and not end_s > start_s):
        raise UserError(
            f"start_s is {start_s} and end_s {end_s}, expected 0 <= start_s < end_s."
        )
    return exact(start_s), None if end_s in (None, math.inf) else exact(end_s)
