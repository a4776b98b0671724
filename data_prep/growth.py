"""A folder of shards for a manifest that has changed: what stays, what is to be made.

The shards are those that an extraction of the new manifest into an empty folder makes,
byte for byte. Records whose lines have not changed are copied out of the shards that
have them. Those stay until spec.json lists the new ones, which therefore have another
name where an old one has theirs (train-00000-of-00002.1.tfrecord).
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf
from absl import logging

from avl_tf import files, records, whole_files
from avl_tf.errors import UserError
from avl_tf.manifest import Recording
from avl_tf.manifest.media_files import normal
from avl_tf.records import RecordsSpec, record_index
from avl_tf.whole_files import is_temporary_name
from data_prep import jobs, shards
from data_prep.known import Known
from data_prep.shard_tasks import ShardTask
from data_prep.shards import Line, ShardResult

_ASKED_AT_ONCE = 16  # files' sizes; what takes time is a network's file system
_DIGITS = 16
_SHARD_OR_NOTE = re.compile(rf"({records.SHARD_NAME})(\.json)?")


def line_of(recording: Recording) -> Line:
    """The line of a recording, wherever its media lie and whatever its split is."""
    image = recording.image and normal(os.path.basename(recording.image))
    media = normal(os.path.basename(recording.media))
    told = jobs.told(dataclasses.replace(recording, media=media, image=image))
    told.pop("split", None)
    sizes = [_n_bytes(path) for path in (recording.media, recording.image) if path]
    n_source_bytes = None if None in sizes else sum(filter(None, sizes))
    return Line(recording.id, jobs.digest([told])[:_DIGITS], n_source_bytes)


class Standing:
    """The shards of a folder as the one extraction finds them that may change it."""

    def __init__(self, folder: str):
        """Looks at a folder, local or remote, there or not.

        Raises:
            UserError: a note of a shard is damaged.
        """
        files.require_filesystem(folder)
        notes = files.join(folder, "progress")
        self._folder = folder
        self._listed = _listed(files.join(folder, records.SPEC_NAME))
        self._files = [path for place in (folder, notes) for path in _ours(place)]
        noted = {_shard(path) for path in self._files if path.endswith(".json")}
        every = ((name, shards.read_result(folder, name)) for name in sorted(noted))
        self._whole = {name: result for name, result in every if result}

    @property
    def whole(self) -> list[ShardResult]:
        """The shards that are whole."""
        return list(self._whole.values())

    @property
    def grows(self) -> bool:
        """Whether it is known of all shards for which lines they were made."""
        return all(result.lines for result in self._whole.values())

    def plan(
        self, tasks: Sequence[ShardTask], retry_failed: bool
    ) -> tuple[list[ShardTask], dict[str, ShardResult]]:
        """Finds out what is there of the shards that are wanted.

        Args:
            tasks: the shards, by their names in a folder of their own.
            retry_failed: what has failed is to be tried again.

        Returns:
            The tasks by the names that the shards have here, with what is known of
            their recordings; the results of those that are whole.
        """
        versions = collections.defaultdict(list)
        for name, result in self._whole.items():
            versions[records.other_version(name, 0)].append(result)
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            lines = pool.map(line_of, (one for t in tasks for one in t.recordings))
            planned, results = [], {}
            for task in tasks:
                wanted = tuple(itertools.islice(lines, len(task.recordings)))
                fits = [
                    result
                    for result in versions[task.name]
                    if _fits(result, wanted) and not (retry_failed and result.failures)
                ]
                if fits:
                    best = min(fits, key=self._rank)
                    results[best.name] = best
                    planned.append(dataclasses.replace(task, name=best.name))
                else:
                    planned.append(self._to_make(task, wanted, retry_failed))
        return planned, results

    def _to_make(
        self, task: ShardTask, lines: tuple[Line, ...], retry_failed: bool
    ) -> ShardTask:
        known, noted = {}, []
        for line in lines:
            found = [
                (before, one)
                for before, one in self._known.get((line.id, line.digest), ())
                if _same(before, line) and not (retry_failed and one.reason)
            ]
            if found:
                before, known[line.id] = min(found, key=lambda pair: pair[1].reason)
                if line.n_source_bytes is None:  # the media are not needed any more
                    size = before.n_source_bytes
                    line = dataclasses.replace(line, n_source_bytes=size)
            noted.append(line)
        names = (records.other_version(task.name, n) for n in itertools.count())
        name = next(name for name in names if name not in self._whole)
        return dataclasses.replace(task, name=name, known=known, lines=tuple(noted))

    @functools.cached_property
    def _known(self) -> dict[tuple[str, str], list[tuple[Line, Known]]]:
        """What is known by id and digest."""
        found = collections.defaultdict(list)
        for name, result in self._whole.items():
            reasons = {failed["id"]: failed["reason"] for failed in result.failures}
            notes = collections.defaultdict(list)
            for note in result.notes:
                notes[note.id].append(note)
            sizes = [line.n_bytes for line in result.lines if line.n_bytes]
            offsets = iter(record_index.offsets(sizes))
            for line in result.lines:
                place = (name, next(offsets)) if line.n_bytes else ("", 0)
                reason = "" if line.n_bytes else reasons.get(line.id) or "it failed"
                one = Known(*place, line.n_clips, reason, tuple(notes[line.id]))
                found[line.id, line.digest].append((line, one))
        return found

    def _rank(self, result: ShardResult) -> tuple:
        """Of shards that were made for the same lines the best comes first."""
        return len(result.failures), result.name not in self._listed, result.name

    def changes(self, results: Sequence[ShardResult]) -> str:
        """Says what became of the records that spec.json listed; "" if nothing did."""
        before = [self._whole[name] for name in self._listed if name in self._whole]
        same = self._listed == {result.name for result in results}
        if same or not self._listed or not self.grows:
            return ""
        old = dict(_recorded(before))
        counts: collections.Counter[str] = collections.Counter()
        for key, (line, split) in _recorded(results):
            old_line, old_split = old.get(key, (None, ""))
            if old_line is None or not _same(old_line, line):
                counts["made"] += 1
            else:
                counts["kept" if split == old_split else "moved"] += 1
        there = {line.id for result in results for line in result.lines}
        counts["dropped"] = len(old.keys() - there)
        order = ("kept", "made", "dropped", "moved")
        return ", ".join(f"{name} {counts[name]}" for name in order)

    def retire(self) -> None:
        """Gives spec.json a second name, for its readers to be known by; before finish.

        Only on this machine: what is read in a bucket is not known.
        """
        if self._listed and not files.is_remote(self._folder):
            names = (f"spec-{number}.json" for number in itertools.count())
            notes = files.local_path(files.join(self._folder, "progress"))
            paths = (os.path.join(notes, name) for name in names)
            path = next(path for path in paths if not os.path.exists(path))
            with contextlib.suppress(OSError):  # a file system without links
                os.link(
                    os.path.join(files.local_path(self._folder), records.SPEC_NAME),
                    path,
                )

    def remove_others(self, names: Collection[str]) -> None:
        """Removes shards that were here and are not of these names, and half files.

        Nothing that came later: it may be another machine's. Shards that a process of
        this machine reads stay for the next extraction to remove.
        """
        kept = {*names, *self._read_by_others()}
        for path in self._files:
            if is_temporary_name(path) or _shard(path) not in kept:
                if tf.io.gfile.exists(path):
                    tf.io.gfile.remove(path)
        if n_read := len(kept - set(names)):
            logging.warning(
                "%s: another process reads %d shards that were here before: they stay "
                "until the same command is given again",
                self._folder,
                n_read,
            )

    def _read_by_others(self) -> set[str]:
        """The shards that retired specs with a reader list; the other specs go."""
        found: set[str] = set()
        if files.is_remote(self._folder):
            return found
        notes = files.local_path(files.join(self._folder, "progress"))
        for name in os.listdir(notes):
            if re.fullmatch(r"spec-\d+\.json", name):
                path = os.path.join(notes, name)
                if whole_files.is_read(path):
                    found |= _listed(path)
                else:
                    os.remove(path)
        return found


def sole_process(folder: str) -> contextlib.AbstractContextManager[None]:
    """Keeps other extractions of this machine from a local folder of shards.

    Raises:
        UserError: there is one.
    """
    return files.locked(
        files.join(folder, "progress"),
        f"{folder}: another process is extracting into it. Wait for it, stop it, or "
        "use another --out_dir.",
    )


def _ours(folder: str) -> list[str]:
    """The paths of shards, notes and half files in a folder, which may not be there."""
    names = files.names(folder) if tf.io.gfile.isdir(folder) else []
    return [
        files.join(folder, name)
        for name in names
        if _SHARD_OR_NOTE.fullmatch(name) or is_temporary_name(name)
    ]


def _shard(path: str) -> str:
    """The shard that a path is, or is the note of."""
    return path.rpartition("/")[2].removesuffix(".json")


def _n_bytes(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except OSError:
        return None


def _recorded(
    results: Sequence[ShardResult],
) -> Iterator[tuple[str, tuple[Line, str]]]:
    """Ids, lines and splits of what has a record."""
    for result in results:
        split = records.split_of(result.name)
        for line in result.lines:
            if line.n_bytes:
                yield line.id, (line, split)


def _fits(result: ShardResult, lines: tuple[Line, ...]) -> bool:
    """Whether a shard was made for these lines; all were, of an older version's."""
    same = len(result.lines) == len(lines) and all(map(_same, result.lines, lines))
    return same or not result.lines


def _same(one: Line, other: Line) -> bool:
    sizes = {one.n_source_bytes, other.n_source_bytes} - {None}
    return (one.id, one.digest) == (other.id, other.digest) and len(sizes) < 2


def _listed(path: str) -> set[str]:
    """The shards that a spec.json lists; none of one that is damaged."""
    try:
        return set(RecordsSpec.from_json(files.read_json(path), path).shards)
    except (FileNotFoundError, UserError):
        return set()
