"""Where an index's media come from: folders, manifests, records; no TensorFlow here.

What an origin has is listed anew at every run, so that what is new, changed or gone
since is found.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any

from avl_tf.errors import UserError
from avl_tf.manifest import Recording, media_files, sift_manifest
from avl_tf.manifest.failures import Failure
from avl_tf.retrieval.entries import Source
from avl_tf.retrieval.windows import WindowConfig

_DIGITS = 16
VIDEOS, MANIFEST, RECORDS = "videos", "manifest", "records"


class NothingThere(UserError):
    """A folder without a media file, which may be a disk that is not mounted."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """One of the places that an index is made of.

    Attributes:
        kind: VIDEOS, a folder of media; MANIFEST; or RECORDS, DIR or DIR/SPLIT.
        path: absolute.
        language: of all media of a folder; of records "" is their own.
        audio_track: which sound of them, as a manifest's line has it.
        media: of records, the manifest that says where their media are, or "".
    """

    kind: str
    path: str
    language: str = "und"
    audio_track: int | str | None = None
    media: str = ""

    @property
    def key(self) -> str:
        """What its media name it by."""
        return f"{self.kind}:{self.path}"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A recording that is to be in the index; without one, a record of a shard."""

    source: Source
    recording: Recording | None = None
    shard: str = ""


def of_media(
    origin: Origin, config: WindowConfig, sees_images: bool
) -> tuple[list[Wanted], list[Failure]]:
    """Lists the recordings of a folder, or of a manifest.

    Args:
        origin: of media.
        config: how they are to be cut.
        sees_images: the model sees still images, and no video.

    Returns:
        The recordings, and the lines of a manifest, or the files, that are none.

    Raises:
        FileNotFoundError, UserError: it is not there, or there is nothing in it.
    """
    if origin.kind == VIDEOS:
        recordings, faults = _in_folder(origin, sees_images)
    else:
        recordings, found = sift_manifest(origin.path)
        faults = [dataclasses.asdict(fault) for fault in found]
    return [_wanted(one, origin, config) for one in recordings], faults


def _in_folder(
    origin: Origin, sees_images: bool
) -> tuple[list[Recording], list[Failure]]:
    if not os.path.isdir(origin.path):
        raise FileNotFoundError(f"--videos={origin.path}: no such folder.")
    seen = media_files.VIDEO_SUFFIXES
    if sees_images:
        seen = media_files.IMAGE_SUFFIXES
    suffixes = seen + media_files.AUDIO_SUFFIXES
    listing = media_files.list_files(origin.path)
    names = [one for one in listing.files if media_files.has_suffix(one, suffixes)]
    if not names:
        raise NothingThere(
            f"--videos={origin.path}: no media file in it or below (files that end in "
            f"{', '.join(seen[:3])} and so on). Nothing is changed."
        )
    recordings = [
        Recording(
            id=name,
            media=(path := os.path.join(origin.path, name)),
            image=path if media_files.has_suffix(name, _IMAGES) else None,
            language=origin.language,
            recording_id=name,
            audio_track=origin.audio_track,
        )
        for name in names
    ]
    unreadable = [
        name.encode("utf-8", "backslashreplace").decode()
        for name in listing.unreadable
        if media_files.has_suffix(name, suffixes)
    ]
    reason = "no file, or a name that is no UTF-8 text: rename it"
    return recordings, [
        {"id": name, "media": os.path.join(origin.path, name), "reason": reason}
        for name in unreadable
    ]


_IMAGES = media_files.IMAGE_SUFFIXES


def _wanted(recording: Recording, origin: Origin, config: WindowConfig) -> Wanted:
    recording = dataclasses.replace(
        recording,
        media=os.path.abspath(media_files.as_on_disk(recording.media)),
        image=recording.image and media_files.as_on_disk(recording.image),
    )
    size, mtime_ns = status(recording.media)
    # Of an image file itself, its name is that of its medium.
    with_image = bool(recording.image) and recording.image != recording.media
    told = dataclasses.asdict(recording) | dict.fromkeys(
        ("id", "media", "recording_id", "split", "labels", "synthetic")
    )
    image = [*status(recording.image)] if with_image and recording.image else None
    source = Source(
        media=recording.media,
        record_id=recording.id,
        recording_id=recording.recording_id,
        language=recording.language,
        digest=digest([told | {"image": image}, dataclasses.asdict(config)]),
        origin=origin.key,
        size=size,
        mtime_ns=mtime_ns,
    )
    return Wanted(source, recording)


def of_records(
    origin: Origin,
    config: WindowConfig,
    listed: Sequence[tuple[str, str, str, str]],
) -> list[Wanted]:
    """The records of an origin, with their media where its manifest names them.

    Args:
        origin: of records.
        config: how they are to be cut.
        listed: id, recording id, shard, and the shard's digest, of each.
    """
    media = {}
    if origin.media:
        recordings, _ = sift_manifest(origin.media)
        media = {
            one.id: os.path.abspath(media_files.as_on_disk(one.media))
            for one in recordings
        }
    cut = dataclasses.asdict(config)
    return [
        Wanted(
            Source(
                media=media.get(record_id, ""),
                record_id=record_id,
                recording_id=recording_id,
                language=origin.language,
                digest=digest([shard_digest, cut]),
                origin=origin.key,
            ),
            shard=shard,
        )
        for record_id, recording_id, shard, shard_digest in listed
    ]


def status(path: str) -> tuple[int, int]:
    """Size and time of a file, (0, 0) of one that is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(64)
def content(path: str, size: int, mtime_ns: int) -> str:
    """The SHA-256 of a file of this size and time, hex; "" if it cannot be read."""
    try:
        return media_files.sha256(path).hex()
    except OSError:
        return ""


def digest(values: Sequence[Any]) -> str:
    """Tells one row of plain values from another."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def require_apart(origins: Sequence[Origin]) -> None:
    """UserError if a folder of media lies in another: its files would be in twice."""
    folders = [one.path for one in origins if one.kind == VIDEOS]
    for inner in folders:
        for outer in folders:
            if inner != outer and inner.startswith(os.path.join(outer, "")):
                raise UserError(
                    f"--videos={inner} lies in {outer}, which the index has: its files "
                    "would be found twice. Use another --index_dir."
                )
