"""Where the media of records are: a manifest in, its recordings by their ids out."""

import dataclasses
import os
from collections.abc import Iterable

from avl_tf.errors import UserError
from avl_tf.manifest import Recording, media_files, read_manifest


def from_manifest(path: str) -> dict[str, Recording]:
    """Reads a manifest, whose lines have the ids of the records made of them.

    Returns:
        Recordings by id: media and image (paths), wanted (which sound), clips, labels,
        language, split; start_s, where in the media a record's 0 s is.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a line is wrong; says which.
    """
    return {
        one.id: dataclasses.replace(
            one,
            media=media_files.as_on_disk(one.media),
            image=one.image and media_files.as_on_disk(one.image),
        )
        for one in read_manifest(path)
    }


def require(
    recordings: dict[str, Recording], record_ids: Iterable[str], path: str
) -> None:
    """UserError if records are not in the manifest of a path, or their media are gone.

    Names the first.
    """
    ids = list(dict.fromkeys(record_ids))
    missing = [record_id for record_id in ids if record_id not in recordings]
    if missing:
        raise UserError(
            f"--manifest={path}: {len(missing)} of {len(ids)} records are not in it, "
            f"the first is {missing[0]}. Give the manifest that data_prep.extract has "
            "made the records of."
        )
    files = {
        name: None
        for record_id in ids
        for name in (recordings[record_id].media, recordings[record_id].image)
        if name
    }
    gone = [name for name in files if not os.path.isfile(name)]
    if gone:
        raise UserError(
            f"--manifest={path}: {len(gone)} of {len(files)} media files are not "
            f"there, the first is {gone[0]}."
        )
