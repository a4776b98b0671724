"""What avl_tf.sweep is to train, from its flags; no TensorFlow here."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from absl import flags

from avl_tf import comma_lists, local_paths, settings
from avl_tf.commands import sweep_checks, sweep_settings
from avl_tf.commands.sweep_settings import Setting
from avl_tf.comparing import trainings
from avl_tf.comparing.trainings import System, Training
from avl_tf.errors import UserError
from avl_tf.settings import stage_flags
from avl_tf.settings.model import ModelConfig
from avl_tf.wording import counted

# Of a sweep without --stages.
_ONLY = "train"
_COLUMN = re.compile(r"(?:(\w+2\w+)/)?R@(1|5|10)", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Flags:
    """The values of avl_tf.sweep's flags, by their names there."""

    stages: Sequence[str]
    base_flagfile: str | None
    settings: Sequence[str]
    grid: Sequence[str]
    seeds: Sequence[str]
    evaluate: Sequence[str]
    columns: Sequence[str]
    curve: str | None


@dataclasses.dataclass(frozen=True)
class Place:
    """A stage of a setting from a seed, and the name of the training that it is."""

    setting: str
    seed: int
    stage: str
    training: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """All trainings, a parent before its children, and what each is for.

    Attributes:
        settings, seeds, stages: in the order of the table.
        trainings: each once, even if it is for several places.
        places: of every setting, seed and stage.
        sets: names of the evaluation sets of each stage.
        columns: (direction or "" for all, k) of the table.
        curve: flag over which a curve is drawn, or "".
        absent: says which records are not there, so that nothing can be trained; or "".
        varied: by setting, the values of the flags in which settings differ, for
            TensorBoard.
    """

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    stages: tuple[str, ...]
    trainings: tuple[Training, ...]
    places: tuple[Place, ...]
    sets: Mapping[str, tuple[str, ...]]
    columns: tuple[tuple[str, int], ...]
    curve: str
    varied: Mapping[str, Mapping[str, bool | float | str]]
    absent: str

    def told(self) -> str:
        """How much is to be trained, in a line."""
        parts = [
            counted(len(self.settings), "setting"),
            counted(len(self.seeds), "seed"),
        ]
        parts.append(counted(len(self.stages), "stage"))
        shared = len(self.places) - len(self.trainings)
        of_shared = f" ({shared} shared by settings that agree)" if shared else ""
        n = counted(len(self.trainings), "training")
        return f"{' x '.join(parts)}: {n}{of_shared}"

    def renamed(self, names: Mapping[str, str]) -> "Plan":
        """The same with other names of trainings, by those that they have."""
        changed = [
            dataclasses.replace(
                one,
                name=names[one.name],
                parent=one.parent and names[one.parent],
            )
            for one in self.trainings
        ]
        places = [
            dataclasses.replace(one, training=names[one.training])
            for one in self.places
        ]
        return dataclasses.replace(self, trainings=tuple(changed), places=tuple(places))


def identities(planned: Sequence[Training]) -> dict[str, str]:
    """What each training is, by its name: a hash of its flags and of its parent's."""
    found = {"": ""}
    for one in planned:
        found[one.name] = _identity(one, found)
    return found


def _identity(one: Training, known: Mapping[str, str]) -> str:
    told = [one.arguments, known[one.parent], one.init_from]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def make(given: Flags) -> Plan:
    """Reads the flags, the flagfiles they name, and looks for what is wrong with them.

    Raises:
        UserError, FileNotFoundError: something is missing or contradicts another; says
            what to do.
    """
    stages = _stages(given)
    names = tuple(stage.name for stage in stages)
    chosen = sweep_settings.read(given.settings, given.grid, names)
    seeds = trainings.read_seeds(given.seeds)
    columns = _columns(given.columns)
    curve = _curve(given.curve, chosen)
    comma_lists.parse_evaluate(given.evaluate)
    parsed = {
        (setting.name, stage.name): _parse(given, setting, stage, len(stages) > 1)
        for setting in chosen
        for stage in stages
    }
    for stage in stages:
        sweep_checks.require_comparable(chosen, stage.name, parsed)
    for setting in chosen:
        sweep_checks.require_use(
            setting, {name: parsed[setting.name, name] for name in names}
        )
    if not any(map(_sets, parsed.values())):
        raise UserError("Give --evaluate=NAME=RECORDS: settings are compared on a set.")
    planned: dict[str, Training] = {}  # by identity
    known, places = {"": ""}, []
    for setting in chosen:
        for seed in seeds:
            of_stage: dict[str, str] = {}
            for stage in stages:
                flag_values = parsed[setting.name, stage.name]
                one = Training(
                    f"{setting.name}/seed{seed}/{stage.name}",
                    stage.name,
                    (*_arguments(flag_values), f"--seed={seed}"),
                    stage_flags.record_paths(flag_values),
                    of_stage.get(stage.parent, ""),
                    "" if stage.parent in of_stage else stage.parent,
                )
                identity = _identity(one, known)
                one = planned.setdefault(identity, one)
                known[one.name] = identity
                of_stage[stage.name] = one.name
                places.append(Place(setting.name, seed, stage.name, one.name))
    return Plan(
        chosen,
        seeds,
        names,
        tuple(planned.values()),
        tuple(places),
        {name: tuple(_sets(parsed[chosen[0].name, name])) for name in names},
        columns,
        curve,
        sweep_settings.varied(chosen, names, parsed),
        sweep_checks.absent_records(chosen, stages, parsed, given.evaluate),
    )


def _stages(given: Flags) -> list[System]:
    stages = trainings.read_systems(given.stages, "stages")
    if not stages:
        if not given.base_flagfile:
            raise UserError(
                "Give --base_flagfile=FLAGFILE, the training that settings change, or "
                "--stages=NAME=FLAGFILE,NAME=FLAGFILE@PARENT of several."
            )
        return [System(_ONLY, given.base_flagfile, ())]
    for at, stage in enumerate(stages):
        if stage.parent and stage.parent not in [each.name for each in stages[:at]]:
            if "/" not in stage.parent:
                raise UserError(
                    f"--stages: '{stage.name}' starts from '{stage.parent}', which is "
                    "no stage before it and no run directory."
                )
            local_paths.require_run(stage.parent)
    return stages


def _parse(
    given: Flags, setting: Setting, stage: System, several: bool
) -> flags.FlagValues:
    """The flags of a setting's stage; it is named by what is wrong with them."""
    base = given.base_flagfile
    arguments = trainings.read_flagfile(base) if base else ()
    arguments += stage.arguments + setting.arguments(stage.name)
    if given.evaluate:
        arguments += (f"--evaluate={comma_lists.to_text(given.evaluate)}",)
    name = f"{setting.name}, stage {stage.name}" if several else setting.name
    flag_values = Training(name, setting.name, arguments, ()).flag_values()
    if not flag_values["records"].value:
        raise UserError(f"{name}: --records is missing: name the training records.")
    return flag_values


def _arguments(flag_values: flags.FlagValues) -> tuple[str, ...]:
    """The flags in which a stage is not as its defaults, however they were given."""
    # Of these it counts whether they are given: the parent's stand in their place.
    of_model = {field.name for field in settings.declared(ModelConfig)}
    given = [flag_values[name] for name in sorted(flag_values)]
    return tuple(
        flag.serialize()
        for flag in given
        if flag.present
        and flag.name != "seed"
        and (flag.name in of_model or flag.value != flag.default)
    )


def _sets(flag_values: flags.FlagValues) -> dict[str, dict[str, str]]:
    return comma_lists.parse_evaluate(flag_values["evaluate"].value or [])


def _columns(texts: Sequence[str]) -> tuple[tuple[str, int], ...]:
    matches = [_COLUMN.fullmatch(text.strip()) for text in texts]
    found = [(match[1] or "", int(match[2])) for match in matches if match]
    if not texts or len(found) < len(texts) or len(set(found)) < len(found):
        raise UserError(
            "--columns: expected R@1, R@5 or R@10, or of one direction as a2v/R@10, "
            f"with commas between and each once; got '{','.join(texts)}'."
        )
    return tuple(found)


def _curve(flag: str | None, chosen: Sequence[Setting]) -> str:
    if not flag:
        return ""
    values = [dict(setting.values).get(flag) for setting in chosen]
    try:
        numbers = {float(value) for value in values if value is not None}
    except ValueError:
        numbers = set()
    if None in values or len(numbers) < 2 or min(numbers) <= 0:
        raise UserError(
            f"--curve={flag}: expected a flag of --grid with two or more numbers above "
            "0."
        )
    return flag
