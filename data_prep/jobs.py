"""The note of what a folder of shards was begun for: no two jobs mix in a folder.

FOLDER/progress/job.json holds a job's settings, name by name, a digest of what it
reads, and what was found out when it was begun.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from avl_tf import fields, files, records, settings
from avl_tf.errors import UserError
from avl_tf.manifest import Recording
from avl_tf.media import DEFAULT_LIMITS
from avl_tf.settings.extraction import ExtractionConfig
from data_prep.output_config import OutputConfig
from data_prep.shard_tasks import ShardTask

# The fields that version 0.1.0 knew, in its order: it told jobs by their repr.
_FIELDS_0_1_0 = {
    "AudioConfig": "sample_rate window_length hop_length n_mels fmin_hz fmax_hz "
    "preemphasis power_floor dynamic_range_db",
    "ExtractionConfig": "backbone_2d weights_2d backbone_3d weights_3d storage "
    "keep_images audio",
    "FeatureSpec": "backbone dim rate_hz",
    "Recording": "id media image language split recording_id start_s end_s clips "
    "labels synthetic",
    "RecordsSpec": "audio log_mel_reference features_2d features_3d languages "
    "synthetic shards storage images",
}


_OTHERS = "the recordings were others"
_UNNOTED = (
    "An earlier version made it and did not note for which lines: give this command "
    "once with the manifest of then, and after that any. Or use another --out_dir."
)
_ANYTHING = fields.mapping(fields.anything)
_NOTE: dict[str, fields.Check] = {
    "settings": _ANYTHING,
    "dealing": _ANYTHING,
    "content": fields.text(),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What must be the same for a folder to be gone on with.

    Attributes:
        config: a dataclass: what is written, setting by setting.
        content: digest of what is read, and of how it is dealt to shards.
        dealing: the settings that do no more than deal: name -> value.
        in_0_1_0: makes the text by which version 0.1.0 told the job.
        grows: the content may be another, if it is dealt by the same settings; False
            of shards that could grow if it were known for what they were made; None of
            others.
    """

    config: Any
    content: str
    dealing: Mapping[str, Any]
    in_0_1_0: Callable[[], str]
    grows: bool | None = None


def extraction(
    tasks: Sequence[ShardTask],
    config: ExtractionConfig,
    seed: int,
    shard_size: int,
    grows: bool = False,
) -> Job:
    """The job of extracting a manifest's recordings, wherever their files lie."""
    # Larger limits, with --retry_failed, let through what has failed by them.
    config = dataclasses.replace(config, limits=DEFAULT_LIMITS)
    dealing = {"seed": seed, "recordings_per_shard": shard_size}
    content = digest(_content(tasks))
    in_0_1_0 = functools.partial(_description_0_1_0, tasks, config)
    return Job(config, content, dealing, in_0_1_0, grows)


def _content(tasks: Sequence[ShardTask]) -> Iterator[Any]:
    for task in tasks:
        yield task.name
        for recording in task.recordings:
            image = "" if recording.image else None
            yield told(dataclasses.replace(recording, media="", image=image))


def told(recording: Recording) -> dict[str, Any]:
    """The fields of a recording that are not their defaults, as plain JSON."""
    fields = {field.name: field.default for field in dataclasses.fields(Recording)}
    values = {name: getattr(recording, name) for name in fields}
    # So that fields that are to come do not make another job of it.
    return {k: v for k, v in values.items() if v != fields[k]}


def _description_0_1_0(tasks: Sequence[ShardTask], config: ExtractionConfig) -> str:
    """By what version 0.1.0 told one extraction from another."""
    found = hashlib.sha256(repr_0_1_0(config).encode())
    for task in tasks:
        moved = [dataclasses.replace(r, media="", image="") for r in task.recordings]
        listed = ", ".join(map(repr_0_1_0, moved))
        found.update(f"({task.name!r}, [{listed}])".encode())
    return found.hexdigest()


def digest(values: Iterable[Any]) -> str:
    """Tells one row of plain JSON values from another."""
    found = hashlib.sha256()
    for value in values:
        found.update(json.dumps(value, sort_keys=True).encode() + b"\n")
    return found.hexdigest()


def claim(
    folder: str,
    job: Job,
    describe: Callable[[], dict[str, Any]] = dict,
    about_check: fields.Check = _ANYTHING,
) -> dict[str, Any]:
    """Makes sure that what lies in a folder was begun for the same job.

    Settings that did not exist when it was begun count as their defaults.

    Args:
        folder: local or remote.
        job: what is to be done.
        describe: called when the folder is begun; what it returns is kept as JSON.
        about_check: what that must be when it is read again.

    Returns:
        What describe returned when the folder was begun.

    Raises:
        ValueError: the folder holds something else, and says what differs; nothing is
            touched.
    """
    files.require_filesystem(folder)
    path = files.join(folder, "progress", "job.json")
    if tf.io.gfile.exists(path):
        note = _read(path, folder, about_check)
        changed, about = _changes(note, job), note["about"]
        if changed:
            grown = changed == _OTHERS and job.grows is False
            raise UserError(
                f"{folder} was begun with other input or other settings ({changed}). "
                + (_UNNOTED if grown else "Use another --out_dir, or delete this one.")
            )
        return about
    if tf.io.gfile.exists(files.join(folder, records.SPEC_NAME)):
        raise UserError(f"{folder} holds records already. Use another --out_dir.")
    about = describe()
    note = {
        "settings": settings.plain(job.config),
        "dealing": dict(job.dealing),
        "content": job.content,
        "about": about,
    }
    files.write_json(path, note)
    return about


def is_begun_for(folder: str, job: Job) -> bool:
    """Whether a folder was begun for a job and no other."""
    path = files.join(folder, "progress", "job.json")
    if not tf.io.gfile.exists(path):
        return False
    return not _changes(_read(path, folder, _ANYTHING), job)


def _read(path: str, folder: str, about_check: fields.Check) -> dict[str, Any]:
    note = files.read_json(path)
    of_0_1_0 = isinstance(note, dict) and "fingerprint" in note
    told_by = {"fingerprint": fields.text()} if of_0_1_0 else _NOTE
    try:
        fields.record({**told_by, "about": about_check})(note, "")
    except UserError as error:
        raise UserError(
            f"{path}: not the note of a job ({error}). Use another --out_dir, or "
            f"delete {folder}."
        ) from None
    return note


def _changes(note: dict[str, Any], job: Job) -> str:
    if "fingerprint" in note:
        described = hashlib.sha256(job.in_0_1_0().encode()).hexdigest()
        same = note["fingerprint"] == described[:16]
        return "" if same else "an earlier version did not note which"
    now = settings.plain(job.config)
    found = settings.changes(note["settings"], now, type(job.config))
    if note["content"] != job.content:
        dealt = settings.changes(note["dealing"], job.dealing, OutputConfig)
        found += dealt or ([] if job.grows else [_OTHERS])
    return "; ".join(found)


def repr_0_1_0(value: Any) -> str:
    """The repr that a dataclass had in version 0.1.0.

    A field that came later is seen in it only where it is not its default.
    """
    if not dataclasses.is_dataclass(value):
        return repr(value)
    known = _FIELDS_0_1_0[type(value).__name__].split()
    later = [
        field.name
        for field in dataclasses.fields(value)
        if field.name not in known and getattr(value, field.name) != field.default
    ]
    shown = (f"{name}={repr_0_1_0(getattr(value, name))}" for name in known + later)
    return f"{type(value).__name__}({', '.join(shown)})"
