"""The checks that open files: is there sound, and where does it end?"""

from avl_tf import media
from avl_tf.errors import MediaError
from avl_tf.manifest.findings import Finding
from avl_tf.media.file import MediaFile
from avl_tf.media.tracks import ANY, Wanted
from avl_tf.settings.limits import DEFAULT_LIMITS, Limits
from data_prep import checks
from data_prep.checks import Line

_FIRST_WINDOW_S, _LAST_WINDOW_S = 1, 600


def examine(
    line: Line,
    limits: Limits = DEFAULT_LIMITS,
    notes: list[Finding] | None = None,
) -> tuple[Finding | None, float]:
    """Opens the files of a line and listens until the first sound.

    The whole is not decoded, so damage further on is for data_prep.extract to find.

    Args:
        line: of a manifest.
        limits: how large its pictures may be.
        notes: takes what else is worth telling, such as which of several tracks is
            meant.

    Returns:
        A finding ("dead" or "silent") or None; where the sound that is meant ends, in
        seconds, or the pictures if there is none, 0 if it is dead.
    """
    path, duration_s = line["media"], 0.0
    of_file: list[media.Note] = []
    wanted = Wanted(line.get("language", "und"), line.get("audio_track"))
    defect = None
    try:
        with MediaFile(path, limits=limits, notes=of_file, wanted=wanted) as file:
            length_s = float(file.duration())
            try:
                file.stream("audio")
            except MediaError as error:
                defect = checks.finding("silent", line, str(error))
            else:
                length_s = float(file.sound_end())
            if not line.get("image"):
                file.stream("video")
        if line.get("image") and not defect:
            media.read_image(line["image"], limits)
        if not defect:
            span_s = line.get("start_s", 0.0), line.get("end_s")
            if is_silent(path, *span_s, of_file, wanted):
                detail = f"{path}: its sound is nothing but zeros"
                defect = checks.finding("silent", line, detail)
            elif checks.clips_beyond_end({**line, "duration_s": length_s}):
                length_s = max(length_s, _heard_s(path, limits, wanted))
        duration_s = length_s
    except (MediaError, OSError, ValueError) as error:
        defect = checks.finding("dead", line, str(error))
    if notes is not None:
        notes += (checks.finding(note.kind, line, note.text) for note in of_file)
    return defect, duration_s


def _heard_s(path: str, limits: Limits, wanted: Wanted) -> float:
    """The length of a file's sound as extraction hears it; decodes all of it.

    Files joined one behind the other (Ogg, FLAC, MPEG-TS) may declare the first alone.
    """
    n_samples = 0
    parts = media.decode(path, media.SAMPLE_RATE, limits=limits, wanted=wanted)
    for _, samples in parts:
        n_samples = 0 if samples is None else n_samples + len(samples)
    return n_samples / media.SAMPLE_RATE


def is_silent(
    path: str,
    start_s: float = 0.0,
    end_s: float | None = None,
    notes: list[media.Note] | None = None,
    wanted: Wanted = ANY,
) -> bool:
    """Tells whether a file's sound, or a span of it, is nothing but zeros.

    Decodes until the first sound only; at most ten minutes are in memory.

    Args:
        path: a file with sound.
        start_s, end_s: the span, in seconds.
        notes: takes what is worth telling of the file.
        wanted: which sound is meant.

    Raises:
        FileNotFoundError, MediaError: as media.read_waveform.
    """
    window_s = _FIRST_WINDOW_S
    while end_s is None or start_s < end_s:
        stop_s = start_s + window_s
        if end_s is not None:
            stop_s = min(stop_s, end_s)
        span = start_s, stop_s
        parts = media.decode(
            path, media.SAMPLE_RATE, (), *span, notes=notes, wanted=wanted
        )
        samples = media.collect(parts)
        if samples.any():
            return False
        if len(samples) < round((stop_s - start_s) * media.SAMPLE_RATE) - 1:
            break
        start_s, window_s = stop_s, min(2 * window_s, _LAST_WINDOW_S)
    return True
