"""Stages that start from each other, and the papers' table of them: stage x set."""

from collections.abc import Iterable, Mapping, Sequence

from avl_tf import metrics, runs
from avl_tf.dataset import Records
from avl_tf.evaluation import tables

# The stages from the first to one: (name, languages of its training records) of each.
Line = tuple[tuple[str, tuple[str, ...]], ...]
# What stands above a table of such a corpus.
SYNTHETIC = "**Synthetic corpus: drawn shapes and tones, no speech.**"
_SETTINGS = ("random", "target only", "zero-shot", "cascade", "earlier stage")


def line_of(run_dir: str | None) -> Line:
    """The line of a finished run, by the paths in each one's note of its parent."""
    if run_dir is None:
        return ()
    info = runs.read_info(run_dir)
    return (*line_of(info.parent), (run_dir.rstrip("/"), info.languages))


def setting(line: Line, languages: Iterable[str]) -> str:
    """How a line of stages stands to a set's languages, in the paper's words."""
    heard = [not set(languages).isdisjoint(spoken) for _, spoken in line]
    if not heard:
        return "random"
    if not any(heard):
        return "zero-shot"
    if not heard[-1]:
        return "earlier stage"
    return "cascade" if len(heard) > 1 else "target only"


def random_rows(sets: Mapping[str, Records], rows: Sequence[dict]) -> list[dict]:
    """The rows of chance: what a random ranking is expected to reach on each set.

    Args:
        sets: by name.
        rows: of the stages, for the directions and the number of queries of a set.
    """
    of = {name: [row for row in rows if row["set"] == name] for name in sets}
    n_queries = {name: int(of[name][0]["n"]) for name in sets if of[name]}
    return [
        {"stage": "random", "parent": None, "set": name, "when": when}
        | metrics.chance(
            records.n_clips,
            tables.directions(of[name]) or metrics.DIRECTIONS,
            n_queries.get(name),
        )
        for name, records in sets.items()
        for when in ("zero_shot", "final")
    ]


def stage_rows(
    name: str, parent: str | None, result: Mapping, set_names: Iterable[str]
) -> list[dict]:
    """The rows of a stage, before its first step and as it stands.

    Args:
        name, parent: of the stage.
        result: what training.train_stage returned.
        set_names: those of its evaluation sets to show.
    """
    history = result["history"]
    both = {"zero_shot": history[0], "final": history[result["stands"]]}
    return [
        {"stage": name, "parent": parent, "set": set_name, "when": when}
        | entry["sets"][set_name]
        for set_name in set_names
        for when, entry in both.items()
    ]


def table(
    rows: Sequence[Mapping], lines: Mapping[str, Line], sets: Mapping[str, Records]
) -> str:
    """The paper's table: for every set, chance and then what each stage reaches.

    A stage's zero-shot rows are its parent's final ones, so they are shown only where
    the parent is a run from elsewhere.

    Args:
        rows: from random_rows and stage_rows.
        lines: of the stages, by their names.
        sets: the evaluation sets, by their names.
    """
    shown = []
    for set_name, records in sets.items():
        of_set = []
        for row in rows:
            line = lines.get(row["stage"], ())
            if row["when"] == "zero_shot":
                if row["parent"] is None or row["parent"] in lines:
                    continue
                line = line[:-1]
            if row["set"] == set_name:
                of_set.append(
                    {
                        **row,
                        "setting": setting(line, records.spec.languages),
                        "stages": " -> ".join(name for name, _ in line) or "-",
                    }
                )
        shown += sorted(of_set, key=lambda row: _SETTINGS.index(row["setting"]))
    text = tables.markdown(shown, ("set", "setting", "stages"))
    return (f"{SYNTHETIC}\n\n" if is_synthetic(sets) else "") + text


def is_synthetic(sets: Mapping[str, Records]) -> bool:
    """Whether any of the sets was generated."""
    return any(records.spec.synthetic for records in sets.values())
