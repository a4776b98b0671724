"""Records of several languages joined: the same recording, image or label in each.

Source: Harwath et al. 2018 (two languages by image), Ohishi et al. 2020 (three).
Differs: the papers do not say what becomes of an image with more captions in one
    language than in another; here see join.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from avl_tf import comma_lists
from avl_tf.dataset import join_faults, join_keys, training_records
from avl_tf.errors import UserError
from avl_tf.records import RecordSet, RecordsSpec, record_index
from avl_tf.records.record_index import Entry
from avl_tf.settings.clips import ClipConfig
from avl_tf.wording import counted


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedSet:
    """Tuples of records, one of each language, in the order of the first language's.

    Attributes:
        name: what the sets are called.
        sets: by language, with the records that are in tuples.
        places: by language int64 [N, K, 2], the index of a shard and the byte in it; of
            K records an epoch draws one (more than one if joined by similarity).
        keys: what joins each tuple, N texts.
        numbers: int64 [N], counts the tuples of one key.
        clips: int64 [N], the annotated clips of each tuple.
        seen: int64 [N], whose image is seen, as a place among the sets: the first's,
            but for those joined by similarity.
        n_unjoined: by language, records that are in no tuple.
    """

    name: str
    sets: Mapping[str, RecordSet]
    places: Mapping[str, np.ndarray]
    keys: tuple[str, ...]
    numbers: np.ndarray
    clips: np.ndarray
    seen: np.ndarray
    n_unjoined: Mapping[str, int]

    @property
    def spec(self) -> RecordsSpec:
        """The first set's; languages are the names, synthetic is any's."""
        specs = [records.spec for records in self.sets.values()]
        return dataclasses.replace(
            specs[0],
            languages=tuple(self.sets),
            synthetic=any(spec.synthetic for spec in specs),
        )

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages it is in, as the flag calls them."""
        return tuple(self.sets)

    @property
    def n_records(self) -> int:
        """How many tuples there are."""
        return len(self.keys)

    @property
    def n_clips(self) -> int:
        """How many annotated clips the tuples have."""
        return int(self.clips.sum())

    @property
    def n_skipped(self) -> int:
        """How many records of all languages are damaged and left out."""
        return sum(records.n_skipped for records in self.sets.values())

    @property
    def fingerprint(self) -> str:
        """Changes with the content of a shard of any language."""
        found = [f"{name} {one.fingerprint}" for name, one in self.sets.items()]
        return hashlib.sha256(" ".join(found).encode()).hexdigest()[:16]

    def map(self, change: Callable[[RecordSet], RecordSet]) -> "JoinedSet":
        """The same tuples of sets that are changed."""
        sets = {name: change(one) for name, one in self.sets.items()}
        return dataclasses.replace(self, sets=sets)


Records = RecordSet | JoinedSet


def plain_sets(records: Records) -> list[RecordSet]:
    """The sets of a joined one, or the set itself."""
    return list(records.sets.values()) if isinstance(records, JoinedSet) else [records]


def open_training_records(text: str, clips: ClipConfig) -> Records:
    """Opens the training records of --records, joined if they name languages.

    Args:
        text: a path, or LANGUAGE=PATH with commas between; one language is a plain set.
        clips: which recordings, how they are cut and joined.

    Raises:
        FileNotFoundError, ValueError: as training_records.open_training_records, or as
            join.
    """
    paths = comma_lists.parse_records(text)
    sets = {}
    for language, fraction in clips.fraction_of(paths).items():
        own = dataclasses.replace(clips, fraction=fraction)
        opened = training_records.open_training_records(paths[language], own)
        sets[language] = dataclasses.replace(opened, language=language)
    if len(sets) == 1:
        return next(iter(sets.values()))
    return join(sets, clips, training=True)


def join(sets: Mapping[str, RecordSet], clips: ClipConfig, training: bool) -> JoinedSet:
    """Joins sets by clips.join_by, and tells what is not joined.

    Where a key has several records, in training there are as many tuples as the
    language with the most has records, and those of the others go round; in evaluation
    there is one tuple. Annotated clips join one to one, so that their numbers must be
    the same.

    Args:
        sets: by language, at least two.
        clips: join_by and similar_images; clip_sampling, in training.
        training: whether the tuples are for training.

    Raises:
        ValueError: the sets' settings differ, nothing is joined, there is nothing to
            join by, or a record is damaged.
    """
    join_faults.require_alike(sets)
    join_faults.tell_languages(sets)
    label = join_keys.label_of(clips.join_by, sets)
    listed = {name: _list(records, label) for name, records in sets.items()}
    annotated = not training or clips.clip_sampling == "annotated"
    keys_of: dict[str, list[str]] = {}
    if training and clips.join_by == join_keys.SIMILAR:
        found = join_keys.similar(sets, listed, clips.similar_images, annotated)
        rows, seen = found
        keys = [row[at][0].recording_id for row, at in zip(*found, strict=True)]
    else:
        keys_of = {
            name: join_keys.keys(sets[name], entries, clips.join_by, label)
            for name, entries in listed.items()
        }
        keys, rows = _rows(listed, keys_of, training)
        seen = [0] * len(rows)
    if annotated:
        same = [len({one.n_clips for one, *_ in row}) == 1 for row in rows]
        keys = list(itertools.compress(keys, same))
        rows = list(itertools.compress(rows, same))
        seen = list(itertools.compress(seen, same))
    if not rows:
        raise UserError(join_faults.nothing_joined(sets, keys_of, clips.join_by))
    reasons = _reasons(listed, keys_of, clips.join_by)
    between = "," if training else "+"
    joined_by_language, places, n_unjoined = {}, {}, {}
    for at, (name, records) in enumerate(sets.items()):
        shard = {one: index for index, one in enumerate(records.shards)}
        width = max(len(row[at]) for row in rows)
        chosen = [_filled(row[at], width) for row in rows]
        places[name] = np.array(
            [[(shard[e.shard], e.offset) for e in row] for row in chosen], np.int64
        )
        used = {(e.shard, e.offset) for row in chosen for e in row}
        entries = listed[name]
        kept = [e for e in entries if (e.shard, e.offset) in used]
        joined_by_language[name] = dataclasses.replace(
            records, spans=tuple(training_records.spans_of(kept))
        )
        n_unjoined[name] = len(entries) - len(kept)
        left = [
            (entry, reason)
            for entry, reason in zip(entries, reasons[name], strict=True)
            if (entry.shard, entry.offset) not in used
        ]
        join_faults.tell(records, left, len(entries))
    counts: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)
    numbers = [next(counts[key]) for key in keys]
    joined = JoinedSet(
        between.join(f"{name}={one.name}" for name, one in sets.items()),
        joined_by_language,
        places,
        tuple(keys),
        np.array(numbers, np.int64),
        np.array([row[0][0].n_clips for row in rows], np.int64),
        np.array(seen, np.int64),
        n_unjoined,
    )
    what = counted(joined.n_records, "tuple")
    logging.info("%s: %s, joined by %s", joined.name, what, clips.join_by)
    return joined


def _list(records: RecordSet, label: str) -> list[Entry]:
    entries = list(record_index.list_read(records, label=label))
    if records.n_skipped:  # those that are left were looked at
        return entries
    if damaged := next((entry for entry in entries if entry.fault), None):
        raise UserError(training_records.complaint(records, damaged))
    return entries


def _rows(
    listed: Mapping[str, Sequence[Entry]],
    keys_of: Mapping[str, Sequence[str]],
    training: bool,
) -> tuple[list[str], list[list[list[Entry]]]]:
    """The key of each tuple, and its records by language, one each."""
    by_key: list[dict[str, list[Entry]]] = []
    for name, entries in listed.items():
        found = collections.defaultdict(list)
        for key, entry in zip(keys_of[name], entries, strict=True):
            if key:
                found[key].append(entry)
        by_key.append(found)
    keys, rows = [], []
    for key in by_key[0]:
        if all(key in found for found in by_key):
            own = [found[key] for found in by_key]
            for number in range(max(map(len, own)) if training else 1):
                keys.append(key)
                rows.append([[each[number % len(each)]] for each in own])
    return keys, rows


def _filled(entries: list[Entry], width: int) -> list[Entry]:
    return [entries[index % len(entries)] for index in range(width)]


def _reasons(
    listed: Mapping[str, Sequence[Entry]],
    keys_of: Mapping[str, Sequence[str]],
    join_by: str,
) -> dict[str, list[str]]:
    """Why each record would not be joined, if it is not."""
    if not keys_of:
        alone = "similar to none of another language"
        return {name: [alone] * len(entries) for name, entries in listed.items()}
    common = set.intersection(*map(set, keys_of.values()))

    def reason(key: str) -> str:
        if not key:
            return f"without a {join_by}"
        if key in common:
            return "further ones of a tuple, or of another number of clips"
        return f"of a {join_by} that not every language has"

    return {name: [reason(key) for key in keys] for name, keys in keys_of.items()}
