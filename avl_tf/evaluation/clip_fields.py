"""What is known of each clip of an evaluation set: its fields, by their names."""

from collections.abc import Iterator, Mapping
from typing import Any

from avl_tf.dataset import JoinedSet, Records
from avl_tf.errors import UserError
from avl_tf.manifest import Recording, sift_manifest
from avl_tf.records import Clip, headers
from avl_tf.records.headers import Header

Fields = dict[str, Any]
_OF_CLIP = ("start_s", "end_s", "label")
_OF_LINE = ("media", "image", "synthetic", "audio_track")


def read(records: Records, manifest: str = "") -> list[Fields]:
    """Reads the fields of every clip, in the order of evaluation.

    Args:
        records: the set; of a joined one, the first language's records.
        manifest: path of the manifest that the records were made from; "" is none.

    Returns:
        By clip: duration in seconds, n_words and label; the record's labels, those of
        an object within them as "object.name"; its id, recording_id, language and
        split; with a manifest what a line holds, and whatever stands beside the clip;
        "clip", the clip's id in batches.
        What comes later in this list wins if two are called alike.

    Raises:
        UserError: a record is damaged, or a record or clip is not in the manifest.
        FileNotFoundError: there is no such manifest.
    """
    lines = {}
    if manifest:
        lines = {line.id: line for line in sift_manifest(manifest)[0]}
    found = []
    for header in _headers(records):
        line = lines.get(header.id)
        if manifest and not line:
            raise UserError(
                f"{manifest}: has no line '{header.id}', which is a record of "
                f"{records.name}. Name the manifest that they were made from."
            )
        found += _of_record(header, line, manifest)
    return found


def _headers(records: Records) -> Iterator[Header]:
    if not isinstance(records, JoinedSet):
        yield from headers.read(records)
        return
    name, first = next(iter(records.sets.items()))
    by_place = {header.place: header for header in headers.read(first)}
    for shard, offset in records.places[name][:, 0].tolist():
        yield by_place[first.shards[shard], offset]


def _of_record(header: Header, line: Recording | None, manifest: str) -> list[Fields]:
    of_record = _flat(header.labels) | _flat(line.labels if line else {})
    for name in ("id", "recording_id", "language", "split"):
        of_record[name] = getattr(header, name)
    if line:
        of_record |= {name: getattr(line, name) for name in _OF_LINE}
    # A recording without a clip list is one clip.
    clips = header.clips or (Clip(0.0, header.end_s - header.start_s),)
    found = []
    for clip in clips:
        seconds = round(clip.end_s - clip.start_s, 3)  # kept as float32
        computed = {"duration": seconds, "label": clip.label or None}
        computed["n_words"] = len(clip.label.split())
        beside = {}
        if line and header.clips:
            beside = _beside(clip, line, manifest)
        clip_id = f"{header.id}@{clip.start_s:.2f}-{clip.end_s:.2f}"
        found.append({**computed, **of_record, **beside, "clip": clip_id})
    return found


def _beside(clip: Clip, line: Recording, manifest: str) -> Fields:
    """What stands beside a clip in its line; extraction cuts ends and drops clips."""
    near = [one for one in line.clips if abs(one["start_s"] - clip.start_s) < 1e-3]
    if not near:
        raise UserError(
            f"{manifest}: '{line.id}' has no clip that starts at {clip.start_s:g} s, "
            "its record has. Name the manifest that the records were made from."
        )
    nearest = min(near, key=lambda one: abs(one["end_s"] - clip.end_s))
    return _flat({k: v for k, v in nearest.items() if k not in _OF_CLIP})


def _flat(labels: Mapping[str, Any], before: str = "") -> Fields:
    found: Fields = {}
    for name, value in labels.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = value
    return found
