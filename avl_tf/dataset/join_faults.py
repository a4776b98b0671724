"""What is told of sets that are joined: what is left out, and why nothing fits."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

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


def nothing_joined(
    sets: Mapping[str, RecordSet], keys: Mapping[str, Sequence[str]], join_by: str
) -> str:
    """Says why there is no tuple, with the keys of each language that are there."""
    languages = " and ".join(f"{name}={one.name}" for name, one in sets.items())
    if not keys or set.intersection(*map(set, keys.values())) - {""}:
        return (
            f"{languages} cannot be joined clip by clip: no two records "
            f"{'that share a ' + join_by if keys else 'that are similar'} have as many "
            "clips. Extract them with the same clips, or train with "
            "--clip_sampling=whole or random."
        )
    told = []
    for name, one in sets.items():
        shown = list(dict.fromkeys(filter(None, keys[name])))[:3]
        told.append(f"{name}={one.name} has {', '.join(f'{k!r:.80}' for k in shown)}")
    return (
        f"the languages have no {join_by} in common: {'; '.join(told)}. Join them by "
        "what they share, with --join_by=recording, image or the name of a label; "
        "--join_by=similar is for sets that share no image."
    )


def tell_languages(sets: Mapping[str, RecordSet]) -> None:
    """Warns of sets that are called by another set's language."""
    for name, records in sets.items():
        if other := {*records.spec.languages} & {*sets} - {name}:
            spoken = " and ".join(records.spec.languages)
            logging.warning(
                "%s=%s: its records are in %s. Is %s= meant?",
                name,
                records.name,
                spoken,
                min(other),
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
