"""Slices in avl_tf.evaluate: which clips, their ranks, tables, and what is written."""

import dataclasses
from collections.abc import Mapping, Sequence

from avl_tf.dataset import Records
from avl_tf.errors import UserError
from avl_tf.evaluation import clip_fields, comparison, slices, tables
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.evaluation.slices import Slices
from avl_tf.settings.evaluation import ResamplingConfig
from avl_tf.settings.slices import SliceConfig

# By the names of the set and the slice.
Sliced = dict[tuple[str, str], RankedSet]
_WITHIN = "Each clip is ranked within its slice, among the n of it."
_ALL = "Each clip is ranked among all clips of its set."


@dataclasses.dataclass(frozen=True)
class Group:
    """Slices that make a table: what stands above it, and their places by set.

    within: whether clips are ranked among those of their slice, or among all.
    """

    name: str
    heading: str
    within: bool
    places: Mapping[str, Slices]

    def ranked(
        self, set_name: str, whole: RankedSet, embedded: EmbeddedSet | None = None
    ) -> Sliced:
        """The ranks of a set's slices.

        Args:
            set_name: of the set.
            whole: its ranks among all clips.
            embedded: its embeddings; without them the ranks are those among all.
        """
        return {
            (set_name, name): embedded.part(places).ranked()
            if self.within and embedded
            else whole.part(places)
            for name, places in self.places[set_name].items()
        }

    def tell(
        self,
        found: Sliced,
        labels: Mapping[str, str],
        resampling: ResamplingConfig,
        intervals: bool,
    ) -> dict:
        """Prints the table; returns what recall.json holds of it.

        Args:
            found: the ranks of all sets' slices.
            labels: what the sets are called in tables.
            resampling: of the intervals.
            intervals: print the table of all metrics with theirs too.
        """
        values: dict[str, dict] = {}
        rows = []
        for (set_name, name), ranked in found.items():
            (row,) = comparison.rows(
                {name: ranked}, {name: labels[set_name]}, resampling
            ).values()
            rows.append({**row, "slice": name})
            values.setdefault(set_name, {})[name] = {
                key: value for key, value in row.items() if key != "set"
            } | {"n_candidates": ranked.n_candidates or len(ranked.clip_ids)}
        print(f"\n{self.heading}\n\n{tables.slices(rows)}")
        if intervals:
            named = [{**row, "set": f"{row['set']}: {row['slice']}"} for row in rows]
            print(f"\n{tables.intervals(named)}")
        return {"ranks": "within" if self.within else "all", "sets": values}


def groups(
    sets: Mapping[str, Records], config: SliceConfig, only_all: bool
) -> list[Group]:
    """Cuts sets into slices, before any model is loaded.

    Args:
        sets: by name.
        config: which slices.
        only_all: there are ranks of another model among all clips, and no others.

    Raises:
        UserError: a field, a value or a set is not there (see slices.cut), or ranks
            within slices are asked for and cannot be had.
        FileNotFoundError: there is no such manifest.
    """
    wanted, sounds = config.wanted(), config.sounds_are()
    manifests = config.manifests()
    if unknown := sorted(manifests.keys() - sets.keys()):
        raise UserError(
            f"--manifest={unknown[0]}=...: no set is called so, only {', '.join(sets)}."
        )
    if not wanted and not sounds:
        return []
    if only_all and (sounds or config.slice_ranks == "within"):
        raise UserError(
            "--compare: a file of ranks holds those among all clips. Name the model, "
            "or give --slice_ranks=all and no --sounds."
        )
    clips = {
        name: clip_fields.read(records, manifests.get(name, ""))
        for name, records in sets.items()
    }
    found = []
    if wanted:
        within = config.slice_ranks == "within"
        places = {name: slices.cut(of, wanted, name) for name, of in clips.items()}
        heading = f"Slices. {_WITHIN if within else _ALL}"
        found.append(Group("slices", heading, within, places))
    if sounds:
        seed = config.slice_seed
        places = {
            name: slices.draw_sounds(of, *sounds, seed, name)
            for name, of in clips.items()
        }
        heading = (
            f"Sounds: clips with {'='.join(sounds)}. Speech: as many of the others, at "
            f"random (seed {seed}). {_WITHIN} A diagnostic, as in AVLnet section 3.5."
        )
        found.append(Group("sounds", heading, True, places))
    return found


def compare(
    names: tuple[str, str],
    found: Sequence[Sliced],
    labels: Mapping[str, str],
    resampling: ResamplingConfig,
) -> tuple[str, dict]:
    """The table of the differences of two models in slices, and what JSON holds."""
    a, b = ({f"{s}: {name}": one for (s, name), one in of.items()} for of in found)
    titles = {f"{s}: {name}": f"{labels[s]}: {name}" for s, name in found[0]}
    differences = comparison.differences(a, b, resampling)
    table = comparison.table(names, a, titles, differences, resampling)
    return table, comparison.to_json(names, differences)
