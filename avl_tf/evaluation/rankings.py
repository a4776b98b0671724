"""Ranks by clip: what an evaluation keeps so that another can be compared with it.

A file of them is JSON: {"model": path, "sets": {name: {"clip_s", "n_queries", "clips":
{"clip_id": [...], "a2v": [...], "v2a": [...]}}}}, a list a direction.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from avl_tf import fields, files, metrics
from avl_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class RankedSet:
    """Where the match of every clip of an evaluation set stood.

    ranks: int64 [N] by direction, in the order of clip_ids. n_queries: what recall is
    divided by, N or more. clip_s: seconds that clips were padded or cut to.
    n_candidates: how many clips each was ranked among, 0 is N.
    """

    clip_ids: tuple[str, ...]
    ranks: dict[str, np.ndarray]
    n_queries: int
    clip_s: float
    n_candidates: int = 0

    def part(self, places: np.ndarray) -> "RankedSet":
        """The clips at places, int [n], as they were ranked among all."""
        return RankedSet(
            tuple(self.clip_ids[place] for place in places),
            {direction: rank[places] for direction, rank in self.ranks.items()},
            len(places),
            self.clip_s,
            len(self.clip_ids),
        )

    def metrics(self) -> dict[str, float]:
        """Summarises the ranks; see metrics.summary.

        Beside what it has there is "n_clips", if there are fewer than queries.
        """
        values = metrics.summary(self.ranks, self.n_queries)
        if (n_clips := len(self.clip_ids)) != self.n_queries:
            values["n_clips"] = n_clips
        return values

    def chance(self) -> dict[str, float]:
        """What a random ranking is expected to reach; see metrics.chance."""
        if self.n_candidates:
            values = metrics.chance(self.n_candidates, self.ranks)
            return {**values, "n": self.n_queries}
        return metrics.chance(len(self.clip_ids), self.ranks, self.n_queries)


def matched(a: RankedSet, b: RankedSet, name: str) -> dict[str, np.ndarray]:
    """The ranks of b in the order of a's clips, by clip id.

    Raises:
        ValueError: the clips, the number of queries or the seconds of a clip are not
            the same, so that ranks cannot be compared; begins with the set's name.
    """
    place_a, place_b = _places(a.clip_ids), _places(b.clip_ids)
    if a.ranks.keys() != b.ranks.keys():
        raise UserError(
            f"{name}: A was ranked {' '.join(a.ranks)}, B {' '.join(b.ranks)}: models "
            "of other languages, whose ranks cannot be compared."
        )
    alone_a = [key[0] for key in place_a if key not in place_b]
    alone_b = [key[0] for key in place_b if key not in place_a]
    if alone_a or alone_b:
        raise UserError(
            f"{name}: A ranked {len(place_a)} clips, B {len(place_b)}. "
            f"{_named(alone_a)} only in A, {_named(alone_b)} only in B. A rank counts "
            "all clips of its set: evaluate both on the same records."
        )
    for what, value_a, value_b in (
        ("evaluation_clip_s", a.clip_s, b.clip_s),
        ("evaluation_population", a.n_queries, b.n_queries),
    ):
        if value_a != value_b:
            raise UserError(
                f"{name}: A was evaluated with --{what}={value_a}, B with {value_b}. "
                "Evaluate both with the same."
            )
    order = [place_b[key] for key in place_a]
    return {direction: rank[order] for direction, rank in b.ranks.items()}


def _places(clip_ids: Iterable[str]) -> dict[tuple[str, int], int]:
    """Where each clip stands. A clip that is annotated twice is told by its count."""
    seen: collections.Counter[str] = collections.Counter()
    places = {}
    for place, clip_id in enumerate(clip_ids):
        places[clip_id, seen[clip_id]] = place
        seen[clip_id] += 1
    return places


def _named(clip_ids: list[str]) -> str:
    if not clip_ids:
        return "0"
    return f"{len(clip_ids)} ({clip_ids[0]}{', ...' if len(clip_ids) > 1 else ''})"


def write(path: str, model: str, sets: Mapping[str, RankedSet]) -> None:
    """Writes a model's ranks on evaluation sets, by the names of the sets."""
    value = {
        name: {
            "clip_s": ranked.clip_s,
            "n_queries": ranked.n_queries,
            "clips": {"clip_id": ranked.clip_ids}
            | {direction: rank.tolist() for direction, rank in ranked.ranks.items()},
        }
        for name, ranked in sets.items()
    }
    files.write_json(path, {"model": model, "sets": value})


def read(path: str) -> dict[str, RankedSet]:
    """Reads what write wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file of ranks; names it.
    """
    value = files.read_json(path)
    try:
        _CHECK(value, "")
        return {name: _ranked_set(entry) for name, entry in value["sets"].items()}
    except UserError as error:
        raise UserError(
            f"{path}: not the ranks that avl_tf.evaluate writes ({error})."
        ) from None


_RANKS = fields.record(
    {
        "clip_s": fields.number(0),
        "n_queries": fields.whole(1, 2**40),
        "clips": fields.mapping(fields.items(fields.anything)),
    }
)
_CHECK = fields.record({"sets": fields.mapping(_RANKS)}, others=True)


def _ranked_set(entry: dict) -> RankedSet:
    clips = entry["clips"]
    fields.items(fields.text())(clips.get("clip_id"), "clip_id")
    ranks = {}
    for direction in (name for name in clips if name != "clip_id"):
        fields.items(fields.whole(1, 2**40))(clips[direction], direction)
        ranks[direction] = np.array(clips[direction], np.int64)
    ranked = RankedSet(
        tuple(clips["clip_id"]), ranks, entry["n_queries"], entry["clip_s"]
    )
    if {rank.shape for rank in ranks.values()} != {(len(ranked.clip_ids),)}:
        raise UserError("not as many ranks as clips")
    return ranked
