"""What avl_tf.bilingual is to train, from its flags; no TensorFlow here."""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from avl_tf import comma_lists, local_paths
from avl_tf.comparing import trainings
from avl_tf.comparing.trainings import System, Training
from avl_tf.errors import UserError
from avl_tf.settings import stage_flags

GUIDE = "guide"
# The papers' order; others stand behind, as they are given.
_ORDER = (
    "monolingual",
    "bilingual",
    "bilingual_nn",
    "bilingual_phrl",
    "full",
    "cascade",
    "cascade_full",
)


@dataclasses.dataclass(frozen=True)
class Flags:
    """The values of avl_tf.bilingual's flags, by their names there."""

    guide: str
    languages: Sequence[str]
    records: Mapping[str, str]
    evaluate: Mapping[str, str]
    base_flagfile: str | None
    guide_flagfile: str | None
    monolingual_systems: Sequence[str]
    bilingual_systems: Sequence[str]
    systems: Sequence[str]
    seeds: Sequence[str]
    fractions: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A training and its place in the table; the guide's has GUIDE as its system."""

    training: Training
    system: str
    language: str
    seed: int
    fraction: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """All trainings, a guide's before those that start from it; records by language."""

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    fractions: tuple[float, ...]
    systems: tuple[str, ...]
    records: Mapping[str, str]


def make(given: Flags) -> Plan:
    """Reads the flags, the flagfiles they name, and looks whether all is there.

    Raises:
        UserError, FileNotFoundError: something is missing or contradicts another; says
            what to do.
    """
    monolingual, bilingual = _systems(given)
    systems = _chosen([*monolingual, *bilingual], given.systems)
    languages = _languages(given, bool(bilingual))
    seeds = trainings.read_seeds(given.seeds)
    fractions = _fractions(given.fractions)
    for path in (*given.records.values(), *given.evaluate.values()):
        local_paths.require_records(path)
    cells = []
    if any(system.parent for system in systems):
        cells = [_guide(given, seed) for seed in seeds]
    cells += [
        _cell(given, system, system in bilingual, language, seed, fraction)
        for language in languages
        for system in systems
        for fraction in fractions
        for seed in seeds
    ]
    for cell in cells:
        stage_flags.require_paths(cell.training.flag_values())
    for language in languages:
        trainings.require_same(
            [cell.training for cell in cells if cell.language == language],
            ("evaluation_clip_s", "evaluation_population"),
            "their ranks cannot be compared",
        )
    names = tuple(system.name for system in systems)
    return Plan(tuple(cells), seeds, fractions, names, given.records)


def _systems(given: Flags) -> tuple[list[System], list[System]]:
    both = [
        trainings.read_systems(getattr(given, flag), flag)
        for flag in ("monolingual_systems", "bilingual_systems")
    ]
    names: set[str] = set()
    for system in (*both[0], *both[1]):
        if system.name in (*names, GUIDE, "chance"):
            raise UserError(f"The name '{system.name}' of a system is taken.")
        names.add(system.name)
        if system.parent not in ("", GUIDE):
            raise UserError(
                f"{system.name}={system.flagfile}@{system.parent}: a system starts "
                f"from @{GUIDE} (the run of --guide), or without it from scratch."
            )
    return both[0], both[1]


def _chosen(systems: list[System], wanted: Sequence[str]) -> list[System]:
    known = {system.name: system for system in systems}
    if not known:
        raise UserError("Give --monolingual_systems or --bilingual_systems, or both.")
    for name in wanted:
        if name not in known:
            raise UserError(
                f"--systems: '{name}' is none of the systems, which are "
                f"{', '.join(known)}."
            )
    names = [name for name in known if not wanted or name in wanted]
    names.sort(key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    return [known[name] for name in names]


def _languages(given: Flags, bilingual: bool) -> list[str]:
    for language in (*given.records, *given.evaluate):
        if not re.fullmatch(r"[A-Za-z][\w-]*", language, re.ASCII):
            raise UserError(f"'{language}' is no name of a language: write es, ro.")
    languages = [name.strip() for name in given.languages]
    languages = languages or [name for name in given.records if name != given.guide]
    if given.guide in languages:
        raise UserError(
            f"--languages: '{given.guide}' is the --guide, which the others learn from."
        )
    if not languages or len(set(languages)) < len(languages):
        raise UserError("--languages: name at least one, each once.")
    if given.guide not in given.records:
        raise UserError(f"--records: '{given.guide}', the --guide, has none.")
    for language in languages:
        for flag, named in (("records", given.records), ("evaluate", given.evaluate)):
            if language not in named:
                raise UserError(
                    f"--{flag}: '{language}' has none: write {language}=RECORDS."
                )
    return languages


def _fractions(texts: Sequence[str]) -> tuple[float, ...]:
    try:
        fractions = tuple(float(text) for text in texts)
    except ValueError:
        fractions = ()
    within = all(1e-6 <= fraction <= 1 for fraction in fractions)
    if not fractions or len(set(fractions)) < len(fractions) or not within:
        raise UserError(
            "--fractions: expected numbers from 1e-06 to 1 with commas between, each "
            f"once, as in 0.1,0.3,1; got '{','.join(texts)}'."
        )
    return tuple(sorted(fractions))


def _guide(given: Flags, seed: int) -> Cell:
    if not given.guide_flagfile:
        raise UserError(
            f"--guide_flagfile is missing: systems that start from @{GUIDE} need the "
            "stage that trains it."
        )
    base = trainings.read_flagfile(given.guide_flagfile)
    arguments = (f"--records={given.records[given.guide]}", "--fraction=1")
    name = f"{given.guide}/{GUIDE}/seed{seed}"
    training = _training(
        given, name, GUIDE, (*base, *arguments), given.guide, seed, [given.guide]
    )
    return Cell(training, GUIDE, given.guide, seed, 1.0)


def _cell(
    given: Flags,
    system: System,
    is_bilingual: bool,
    language: str,
    seed: int,
    fraction: float,
) -> Cell:
    heard = [given.guide, language] if is_bilingual else [language]
    records = given.records[language]
    arguments = [f"--fraction={fraction:g}"]
    if is_bilingual:
        records = comma_lists.to_text(f"{name}={given.records[name]}" for name in heard)
        arguments = [f"--language_fraction={language}={fraction:g}", "--fraction=1"]
        # As much of the data as with all of it: no queue is to be larger than they.
        flag_values = Training(system.name, "", system.arguments, ()).flag_values()
        if queue := flag_values["nn_queue"].value:
            arguments.append(f"--nn_queue={max(1, int(queue * fraction))}")
    part = "" if fraction == 1 else f"fraction{fraction:g}/"
    name = f"{language}/{system.name}/{part}seed{seed}"
    parent = f"{given.guide}/{GUIDE}/seed{seed}" if system.parent else ""
    training = _training(
        given,
        name,
        system.name,
        (*system.arguments, f"--records={records}", *arguments),
        language,
        seed,
        heard,
        parent,
    )
    return Cell(training, system.name, language, seed, fraction)


def _training(
    given: Flags,
    name: str,
    kind: str,
    arguments: tuple[str, ...],
    language: str,
    seed: int,
    heard: list[str],
    parent: str = "",
) -> Training:
    evaluated = given.evaluate.get(language)
    items = [f"{language}={evaluated}"] if evaluated else []
    if given.base_flagfile:
        arguments = trainings.read_flagfile(given.base_flagfile) + arguments
    arguments += (f"--seed={seed}", f"--evaluate={comma_lists.to_text(items)}")
    paths = [given.records[one] for one in heard] + ([evaluated] if evaluated else [])
    return Training(name, kind, arguments, tuple(paths), parent)
