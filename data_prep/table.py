"""Makes a manifest of a table: a row a recording, or a row a clip.

    python -m data_prep.table --table=clips.csv --language=sw --manifest=sw.jsonl

In: a csv (or .tsv) with a header. Columns: media; and, if wanted, id, image, start_s,
end_s (seconds), language, audio_track, split, recording_id, label. Other columns
become labels of the recording. media and image are paths from the table's folder, or
from --root.
Out: a recording a row. Rows of one media file share a recording_id, unless there is
such a column, and so are in one split. With --rows=clips the rows of a media file are
the clips of one recording.
"""

import math
import os

from absl import flags

from avl_tf import manifest, program, settings
from avl_tf.errors import UserError
from avl_tf.manifest import media_files
from avl_tf.manifest.line import require_split_name
from data_prep import adapter
from data_prep.adapter import AdapterConfig
from data_prep.annotations import read_rows
from data_prep.checks import Line

settings.define_flags(AdapterConfig, heading="Checks")
_TABLE = flags.DEFINE_string(
    "table", None, "The csv, or tsv by its suffix.", required=True
)
_ROOT = flags.DEFINE_string("root", None, "Folder that its paths start from.")
_ROWS = flags.DEFINE_enum(
    "rows", "recordings", ["recordings", "clips"], "What a row of the table is."
)
_LANGUAGE = flags.DEFINE_string(
    "language", "und", "What is spoken where the table does not say."
)
_SPLIT = flags.DEFINE_string("split", "all", "Split where the table does not say.")
_OWN = tuple(
    "media image id recording_id language audio_track split start_s end_s".split()
)
_OF_CLIPS = ("id", "recording_id", "image")


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    path = _TABLE.value
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    columns = ("media", "start_s", "end_s") if _ROWS.value == "clips" else ("media",)
    faults: list[tuple[str, str]] = []
    rows = read_rows(path, columns, faults, delimiter)
    unfit = adapter.unfit(faults)
    if not rows and not unfit:
        raise UserError(f"{path}: no rows below the header.")
    if _ROWS.value == "clips":
        if rows and (unused := [name for name in _OF_CLIPS if name in rows[0][1]]):
            raise UserError(
                f"{path}: column {unused[0]} has no place where rows are clips: leave "
                "it out, or use --rows=recordings."
            )
        lines = _recordings_of_clips(rows, unfit)
    else:
        lines = []
        for place, row in rows:
            with adapter.as_finding(unfit, _cell(row, "media") or place):
                lines.append(_recording(row, place))
    adapter.finish(config, lines, unfit + _in_the_files_form(lines))


def _recording(row, place):
    media = _cell(row, "media")
    start_s, end_s = _number(row, "start_s", place), _number(row, "end_s", place)
    span = [f"{time:g}" for time in (start_s, end_s) if time is not None]
    line = {
        "id": _cell(row, "id") or (f"{media}@{'-'.join(span)}" if span else media),
        **_common(row, place),
        "recording_id": _cell(row, "recording_id") or media,
    }
    if _cell(row, "image"):
        line["image"] = _path(row["image"])
    if start_s is not None:
        line["start_s"] = start_s
    if end_s is not None:
        line["end_s"] = end_s
    _check_span(start_s or 0.0, end_s, place)
    line["labels"] = {key: row[key] for key in row if key not in _OWN and row[key]}
    return line


def _recordings_of_clips(rows, unfit):
    lines: dict[tuple[str, str], Line] = {}
    for place, row in rows:
        with adapter.as_finding(unfit, _cell(row, "media") or place):
            common, clip = _common(row, place), _clip(row, place)
            line = lines.setdefault(
                (common["media"], common["split"]),
                {"id": _cell(row, "media"), **common, "clips": []},
            )
            line["clips"].append(clip)
    return list(lines.values())


def _clip(row, place):
    start_s, end_s = _number(row, "start_s", place), _number(row, "end_s", place)
    if start_s is None or end_s is None:
        raise UserError(f"{place}: a clip needs start_s and end_s.")
    clip = {"start_s": start_s, "end_s": end_s, "label": _cell(row, "label")}
    more = {k: row[k] for k in row if k not in (*_OWN, "label") and row[k]}
    return {**clip, **more}


def _in_the_files_form(lines):
    """Names files as they are named on the disk; notes on where that is otherwise."""
    others = []
    for line in lines:
        for name in ("media", "image"):
            found = media_files.as_on_disk(line.get(name, ""))
            if found != line.get(name, ""):
                line[name] = found
                others.append(line["id"])
    return adapter.other_form(others)


def _common(row, place):
    if not _cell(row, "media"):
        raise UserError(f"{place}: media is empty.")
    split = _cell(row, "split") or _SPLIT.value
    require_split_name(split, place)
    line = {
        "media": _path(row["media"]),
        "language": _cell(row, "language") or _LANGUAGE.value,
        "split": split,
    }
    try:
        track = manifest.parse_audio_track(_cell(row, "audio_track") or None)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    return line if track is None else {**line, "audio_track": track}


def _path(cell):
    return os.path.join(_ROOT.value or os.path.dirname(_TABLE.value), cell.strip())


def _cell(row, name):
    return row.get(name, "").strip()


def _number(row, name, place):
    if not _cell(row, name):
        return None
    try:
        return float(row[name])
    except ValueError:
        raise UserError(
            f"{place}: {name} is '{row[name]}', expected seconds, such as 12.5."
        ) from None


def _check_span(start_s, end_s, place):
    if not 0 <= start_s < math.inf or not (end_s is None or start_s < end_s < math.inf):
        raise UserError(
            f"{place}: expected 0 <= start_s < end_s, got {start_s} and {end_s}."
        )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
