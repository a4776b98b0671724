"""Which split a recording is in: decided by its id, so that a corpus can grow.

Groups of ids that stay together come in (a recording with its copies); a split for each
goes out. A hash of the seed and the id decides, whatever other recordings there are, so
that those that are added later move none of the old ones.
"""

import bisect
import collections
import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence

from avl_tf.errors import UserError
from avl_tf.manifest.findings import Finding
from avl_tf.wording import counted

# Of the flag of the programs that deal.
KEEP = (
    "Recordings that an earlier run put into the manifest keep their split, also with "
    "another seed or other shares; --nokeep_splits deals all anew."
)
_KEPT = (
    "in the split of the earlier manifest, though seed and shares would deal it to "
    "another: --nokeep_splits deals all anew"
)

_SMALL = (
    "less than half of its share, by chance: another --seed, with --nokeep_splits, "
    "deals otherwise"
)


def rank(split: str) -> int:
    """0 is training, 1 validation, 2 evaluation: what a recording is kept from most."""
    if split == "all" or split.startswith("train"):
        return 0
    return 1 if split.startswith(("val", "dev")) else 2


def require_shares(shares: Mapping[str, float]) -> None:
    """Makes sure that shares of splits sum to 1; UserError if not."""
    values = list(shares.values())
    if not all(share > 0 for share in values) or abs(sum(values) - 1) > 1e-6:
        raise UserError(
            f"the fractions of the splits are {values}: expected numbers above 0 that "
            "sum to 1."
        )


def place(seed: int, name: str) -> float:
    """A number in [0, 1) that a name has with a seed, on any machine."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def deal(
    groups: Sequence[Collection[str]],
    shares: Mapping[str, float],
    seed: int,
    kept: Mapping[str, str] | None = None,
    unusable: Collection[str] = (),
    notes: list[Finding] | None = None,
) -> list[str]:
    """Deals groups of recordings to splits.

    Splits lie one behind the other between 0 and 1, train first, each as long as its
    share; a group is where the place() of its shortest id is, as a copy's name is most
    often longer than the original's. Sizes are near their shares, as drawn at random.

    Args:
        groups: the ids of each; an id is in one group only.
        shares: split -> its share, in whatever order; they sum to 1.
        seed: another seed, another deal.
        kept: id -> the split that it has already, which it keeps. Of a group with
            several the first counts, train before evaluation. One that is none of
            `shares` does not count.
        unusable: ids of recordings that no record can be made of. They fill no split.
        notes: takes what is worth telling: "moved" for each id that does not keep its
            split, "filled" for those that were put into an empty split, "kept split"
            where seed and shares say otherwise; and, if nothing is kept, "small split"
            with the name of a split.

    Returns:
        The split of each group. A split that would be empty gets the nearest group of
        one that has several, and rather one that is not in `kept`.

    Raises:
        UserError: the shares do not sum to 1, or there are fewer groups than splits.
    """
    require_shares(shares)
    if len(groups) < len(shares):
        raise UserError(
            f"{counted(len(groups), 'recording')} cannot fill "
            f"{counted(len(shares), 'split')}."
        )
    kept = kept or {}
    splits = sorted(shares, key=lambda split: (rank(split), split))
    ends = list(itertools.accumulate(shares[split] for split in splits))
    shortest = (min(group, key=lambda name: (len(name), name)) for group in groups)
    places = [place(seed, name) for name in shortest]
    hashed = [splits[bisect.bisect(ends[:-1], where)] for where in places]
    held = [{kept[i] for i in group if kept.get(i) in shares} for group in groups]
    first = [
        min(own, key=splits.index) if own else split
        for own, split in zip(held, hashed, strict=True)
    ]
    movable = [i for i, group in enumerate(groups) if not set(group) <= set(unusable)]
    if len(movable) < len(shares):
        movable = list(range(len(groups)))
    dealt = list(first)
    for split, end in zip(splits, ends, strict=True):
        sizes = collections.Counter(dealt[i] for i in movable)
        if not sizes[split]:
            start = end - shares[split]
            costs = {
                i: (
                    bool(held[i]),
                    bool(held[i]) and rank(dealt[i]) < rank(split),
                    max(start - places[i], places[i] - end),
                )
                for i in movable
                if sizes[dealt[i]] > 1
            }
            dealt[min(costs, key=costs.__getitem__)] = split
    if notes is not None:
        for group, *ways in zip(groups, hashed, first, dealt, strict=True):
            for name in group:
                notes += _told(name, kept.get(name), shares, *ways)
        sizes = collections.Counter(dealt[i] for i in movable)
        for split in splits if not kept else ():
            if sizes[split] < shares[split] * len(movable) / 2:
                of_all = f"{sizes[split]} of {counted(len(movable), 'recording')}"
                notes.append(Finding("small split", split, f"{of_all}, {_SMALL}"))
    return dealt


def _told(name, old, shares, hashed, first, split) -> list[Finding]:
    """What is worth telling of an id: at most one finding.

    Args:
        old: the split that it had, or None.
        shares: the splits that there are.
        hashed, first, split: that of its hash; after what is kept; after filling.
    """
    fills = f"as {split} would be empty"
    if old is None:
        detail = f"to {split} instead of {first}, {fills}"
        return [Finding("filled", name, detail)] if split != first else []
    if old == split:
        return [Finding("kept split", name, _KEPT)] if split != hashed else []
    if split != first:
        why = fills
    elif old in shares:
        why = "where copies of it are"
    else:
        why = f"as {old} is none of the splits now"
    seen = ": what was trained before has seen it" if rank(old) < rank(split) else ""
    return [Finding("moved", name, f"from {old} to {split}, {why}{seen}")]
