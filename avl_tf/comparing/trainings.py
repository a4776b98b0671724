"""What is to be trained, as plain values; no TensorFlow here."""

import dataclasses
from collections.abc import Iterable, Sequence

from absl import flags

from avl_tf import comma_lists, flagfiles
from avl_tf.errors import UserError
from avl_tf.settings import SEEDS, stage_flags


@dataclasses.dataclass(frozen=True)
class System:
    """A way to train: the arguments of its flagfile, and what it starts from.

    parent is what stood behind the @ of its item; "" is from scratch.
    """

    name: str
    flagfile: str
    arguments: tuple[str, ...]
    parent: str = ""


@dataclasses.dataclass(frozen=True)
class Training:
    """One training: a run directory of its own in the folder of the comparison.

    Attributes:
        name: of its run directory, below the folder.
        kind: its system; trainings of a kind take about as long.
        arguments: as of avl_tf.train, without --run_dir and --init_from; later wins.
        paths: all records that it reads, those that it is evaluated on too.
        parent: name of the training whose weights it starts from; "" is none.
        init_from: run directory from elsewhere in the place of a parent.
    """

    name: str
    kind: str
    arguments: tuple[str, ...]
    paths: tuple[str, ...]
    parent: str = ""
    init_from: str = ""

    def flag_values(self) -> flags.FlagValues:
        """Parses the arguments, as avl_tf.train does.

        Raises:
            UserError: a flag is unknown or has a wrong value; names the training.
        """
        flag_values = flags.FlagValues()
        stage_flags.define(flag_values)
        try:
            rest = flag_values(["", *self.arguments])[1:]
            if rest:
                raise UserError(f"'{rest[0]}' is not a flag. Write --name=value.")
            stage_flags.check(flag_values)
        except (UserError, flags.Error) as error:
            raise UserError(f"{self.name}: {error}") from None
        return flag_values


def read_systems(items: Iterable[str], flag: str) -> list[System]:
    """Reads the name=FLAGFILE[@parent] items of a flag, and the flagfiles.

    Raises:
        UserError: an item is not of that form, a name stands twice, or a flagfile has
            an unknown flag or a wrong value.
        FileNotFoundError: there is no such flagfile.
    """
    items = list(items)
    comma_lists.require_no_path_cut(items, flag)
    found: dict[str, System] = {}
    for item in items:
        match = comma_lists.match_stage(item)
        if not match or match[1] in found:
            raise UserError(
                f"--{flag}: expected NAME=FLAGFILE or NAME=FLAGFILE@PARENT with each "
                f"name once, got '{item}'. {comma_lists.RULE}"
            )
        name, flagfile, parent = match.groups()
        found[name] = System(name, flagfile, read_flagfile(flagfile), parent or "")
    return list(found.values())


def read_seeds(texts: Sequence[str]) -> tuple[int, ...]:
    """Reads --seeds; UserError if they are no whole numbers, each once."""
    try:
        seeds = tuple(int(text) for text in texts)
    except ValueError:
        seeds = ()
    if (
        not seeds
        or len(set(seeds)) < len(seeds)
        or not 0 <= min(seeds) <= max(seeds) <= SEEDS
    ):
        raise UserError(
            "--seeds: expected whole numbers with commas between, each once, as in "
            f"0,1,2; got '{','.join(texts)}'."
        )
    return seeds


def read_flagfile(path: str) -> tuple[str, ...]:
    """Reads a stage's flagfile as arguments; raises as stage_flags.read_flagfile."""
    stage_flags.read_flagfile(path)
    return tuple(flagfiles.read(flagfiles.find(path)))


def require_same(
    trainings: Sequence[Training], settings: Sequence[str], why: str
) -> None:
    """Makes sure that trainings agree in some settings.

    Raises:
        UserError: two do not; ends with why they must.
    """
    first = trainings[0]
    of_first = first.flag_values()
    for other in trainings[1:]:
        of_other = other.flag_values()
        for name in settings:
            ours, theirs = of_first[name].value, of_other[name].value
            if ours != theirs:
                raise UserError(
                    f"{first.kind} has --{name}={ours}, {other.kind} {theirs}: {why}. "
                    "Give the flagfiles of both the same."
                )
