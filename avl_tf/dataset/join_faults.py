"""What is told of sets that are joined: what is left out, and why nothing fits."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping

from absl import logging

from avl_tf.errors import UserError
from avl_tf.records import FeatureSpec, RecordSet
from avl_tf.records.record_index import Entry
from avl_tf.settings.audio import AudioConfig

_NAMED = 5  # records that are not joined, of a language and a reason
_SAME = ("audio", "log_mel_reference", "features_2d", "features_3d")


def tell(records: RecordSet, left: Iterable[tuple[Entry, str]], n_records: int) -> None:
    """Logs the records that are not joined: how many, and some by name."""
    by_reason = collections.defaultdict(list)
    for entry, reason in left:
        by_reason[reason].append(entry.id)
    for reason, ids in by_reason.items():
        logging.warning(
            "%s: %d of %d records are not joined%s: %s%s",
            f"{records.language}={records.name}",
            len(ids),
            n_records,
            f", {reason}" if reason else "",
            ", ".join(f"{one:.80}" for one in ids[:_NAMED]),
            ", ..." if len(ids) > _NAMED else "",
        )


def nothing_joined(sets, listed, join_by: str, label: str) -> str:
    """Names the sets, with what they would have been joined by."""
    told = []
    for name, entries in listed.items():
        keys = [entry.label if label else entry.recording_id for entry in entries]
        shown = ", ".join(f"'{key:.80}'" for key in dict.fromkeys(filter(None, keys)))
        shown = ", ".join(shown.split(", ")[:3]) or "none"
        told.append(f"{name} ({sets[name].name}) has {shown}")
    return (
        f"the languages have no {join_by} in common: {'; '.join(told)}. Join them by "
        "what they share, with --join_by=recording, image, the name of a label, or "
        "similar for sets that share no image."
    )


def require_alike(sets: Mapping[str, RecordSet]) -> None:
    """Raises UserError if the settings of sets differ, but for their storage."""
    (name, first), *others = sets.items()
    for other, records in others:
        for field in _SAME:
            ours, theirs = (getattr(s.spec, field) for s in (first, records))
            if ours != theirs:
                raise UserError(
                    f"{name}={first.name} and {other}={records.name} cannot be joined: "
                    f"{field} {_difference(ours, theirs)}. Re-run data_prep.extract "
                    "with the same settings for both."
                )


def _difference(ours, theirs) -> str:
    kinds = AudioConfig, FeatureSpec
    if isinstance(ours, kinds) and isinstance(theirs, kinds):
        before, now = dataclasses.asdict(ours), dataclasses.asdict(theirs)
        return ", ".join(
            f"{key} is {value} and {now[key]}"
            for key, value in before.items()
            if value != now[key]
        )
    return f"is {ours or 'none'} and {theirs or 'none'}"
