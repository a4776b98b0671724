"""What of an index's media is new, changed, renamed or gone; no TensorFlow here."""

import collections
import dataclasses
import os
from collections.abc import Collection, Sequence

from avl_tf.retrieval import origins
from avl_tf.retrieval.entries import Medium, Source
from avl_tf.retrieval.origins import Wanted


@dataclasses.dataclass
class Changes:
    """What is to be done.

    Attributes:
        make: recordings that are to be embedded.
        keep: (id of a medium, its source now) where the vectors stay and what is known
            of the file changes: another name, another time.
        gone: ids of media that are not there any more.
        n_same, n_renamed, n_removed: recordings that stay as they are, have another
            name, or stay out as --remove took them out.
        n_made: of `make`, those that have been embedded.
    """

    make: list[Wanted] = dataclasses.field(default_factory=list)
    keep: list[tuple[int, Source]] = dataclasses.field(default_factory=list)
    gone: list[int] = dataclasses.field(default_factory=list)
    n_same: int = 0
    n_renamed: int = 0
    n_removed: int = 0
    n_made: int = 0


def find(
    known: Sequence[Medium],
    wanted: Sequence[Wanted],
    listed: Collection[str],
    retry_failed: bool = False,
) -> Changes:
    """Compares what an index has with what it is to have.

    A file whose size or time differs is read: with the same content it is the same.

    Args:
        known: all media of the index.
        wanted: the recordings of the origins that were listed.
        listed: the keys of those origins.
        retry_failed: what has failed is to be tried again.
    """
    changes = Changes()
    by_key = {_key(one.source): one for one in known}
    keys = {_key(one.source) for one in wanted}
    left = [
        one
        for one in known
        if one.source.origin in listed and _key(one.source) not in keys
    ]
    movable = collections.defaultdict(list)
    for away in left:
        if away.source.content and not os.path.exists(away.source.media):
            movable[_likeness(away.source)].append(away)
    followed: set[int] = set()
    for one in wanted:
        medium = by_key.get(_key(one.source))
        if medium is None:
            renamed = _followed(one, movable, followed)
            if renamed is None:
                changes.make.append(one)
            else:
                followed.add(renamed.id)
                changes.n_renamed += 1
                changes.keep.append((renamed.id, _with_content(one.source, renamed)))
            continue
        if not _is_same(one.source, medium):
            changes.make.append(one)
        elif medium.removed:
            changes.n_removed += 1
        elif medium.failure and retry_failed:
            changes.make.append(one)
        else:
            changes.n_same += not medium.failure
            now = _with_content(one.source, medium)
            # A file that is away keeps what was known of it.
            if one.source.size and now != medium.source:
                changes.keep.append((medium.id, now))
    changes.gone = [one.id for one in left if one.id not in followed]
    return changes


def _key(source: Source) -> tuple[str, str]:
    return source.media, source.record_id


def _likeness(source: Source) -> tuple[int, str]:
    return source.size, source.digest


def _followed(one: Wanted, movable, followed: set[int]) -> Medium | None:
    """The medium that a new file is, under another name."""
    source = one.source
    for medium in movable.get(_likeness(source), ()):
        if medium.id not in followed:
            found = origins.content(source.media, source.size, source.mtime_ns)
            if found == medium.source.content:
                return medium
    return None


def _is_same(source: Source, medium: Medium) -> bool:
    before = medium.source
    if source.digest != before.digest:
        return False
    file, known = ((one.size, one.mtime_ns) for one in (source, before))
    if file == known or (not source.size and not medium.failure):
        return True  # deleted meanwhile: what a manifest still names stays
    if source.size != before.size or not before.content:
        return False
    return origins.content(source.media, *file) == before.content


def _with_content(source: Source, medium: Medium) -> Source:
    return dataclasses.replace(source, content=medium.source.content)
