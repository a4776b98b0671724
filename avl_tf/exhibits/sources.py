"""Where the media of records are: a manifest in, its recordings by their ids out."""

from collections.abc import Iterable

from avl_tf.errors import UserError
from avl_tf.manifest import Recording, read_manifest


def from_manifest(path: str) -> dict[str, Recording]:
    """Reads a manifest, whose lines have the ids of the records made of them.

    Returns:
        Recordings by id: media and image (paths), wanted (which sound), clips, labels,
        language, split; start_s, where in the media a record's 0 s is.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: a line is wrong; says which.
    """
    return {recording.id: recording for recording in read_manifest(path)}


def require(
    recordings: dict[str, Recording], record_ids: Iterable[str], path: str
) -> None:
    """UserError if a record is not in the manifest of a path; names the first."""
    ids = list(dict.fromkeys(record_ids))
    missing = [record_id for record_id in ids if record_id not in recordings]
    if missing:
        raise UserError(
            f"--manifest={path}: {len(missing)} of {len(ids)} records are not in it, "
            f"the first is {missing[0]}. Give the manifest that data_prep.extract has "
            "made the records of."
        )
