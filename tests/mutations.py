r"""Damages files of every kind that is read, and uses them as a user's program would.

    python -m tests.mutations [--kind=wav,mp4] [--n=1000] [--seed=0] [--faults=DIR]

Prints a line a kind: of n mutations, how many gave a result, how many were refused in
one clear line, how many are faults (another error, a crash, more than 20 s or 1 GB, no
line or an unclear one), and the most seconds and megabytes that one took. The exit
status is 1 if there is a fault; --faults keeps those files, with what went wrong.
"""

import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
from absl import flags
from tqdm import tqdm

from avl_tf import program
from avl_tf.errors import UserError
from tests.bounded import Bounded, Outcome
from tests.mutated_files import mutate
from tests.mutation_kinds import KINDS


def try_mutations(
    kind: str, numbers: Sequence[int], seed: int, folder: pathlib.Path, worker: Bounded
) -> Iterator[tuple[int, bytes, Outcome]]:
    """Makes a kind's file, and uses mutations of it; yields each with its number."""
    folder.mkdir(parents=True)
    KINDS[kind].make(folder)
    path = folder / KINDS[kind].file
    whole = path.read_bytes()
    for number in numbers:
        path.write_bytes(whole)
        worker.begin(kind, folder)
        random = np.random.default_rng([seed, number, *kind.encode()])
        mutated = mutate(whole, KINDS[kind].mutations, random)
        path.write_bytes(mutated)
        yield number, mutated, worker.use(kind, folder)


@dataclasses.dataclass
class Row:
    """What came of the mutations of a kind."""

    kind: str
    results: int = 0
    refused: int = 0
    faults: int = 0
    seconds: float = 0.0
    grown: int = 0

    def add(self, outcome: Outcome) -> None:
        """Counts one."""
        self.faults += bool(outcome.fault)
        self.refused += bool(outcome.told and not outcome.fault)
        self.results += not (outcome.told or outcome.fault)
        self.seconds = max(self.seconds, outcome.seconds)
        self.grown = max(self.grown, outcome.grown)

    def __str__(self) -> str:
        n = self.results + self.refused + self.faults
        counts = (n, self.results, self.refused, self.faults)
        most = f"{self.seconds:.1f} | {self.grown / 1e6:.0f}"
        return f"| {self.kind} | {' | '.join(map(str, counts))} | {most} |"


HEADER = """\
| kind | n | results | refused | faults | slowest, s | largest growth, MB |
| --- | --- | --- | --- | --- | --- | --- |"""


def _keep(folder: pathlib.Path, kind: str, number: int, file: bytes, outcome) -> None:
    folder = folder / kind
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:05d}-{KINDS[kind].file}"
    (folder / name).write_bytes(file)
    (folder / f"{name}.fault").write_text(f"{outcome.fault}\n\n{outcome.told}\n")


def main() -> None:
    unknown = set(_KIND.value) - set(KINDS)
    if unknown:
        raise UserError(f"--kind={','.join(unknown)}: they are {', '.join(KINDS)}.")
    print(HEADER)
    n_faults = 0
    numbers = range(_FIRST.value, _FIRST.value + _N.value)
    with tempfile.TemporaryDirectory() as scratch:
        faults = pathlib.Path(_FAULTS.value or f"{scratch}/faults")
        with Bounded(pathlib.Path(scratch, "log")) as worker:
            for kind in _KIND.value or KINDS:
                row, folder = Row(kind), pathlib.Path(scratch, kind)
                tried = try_mutations(kind, numbers, _SEED.value, folder, worker)
                bar = tqdm(tried, kind, len(numbers), leave=False, disable=None)
                for number, file, outcome in bar:
                    row.add(outcome)
                    if outcome.fault:
                        _keep(faults, kind, number, file, outcome)
                print(row, flush=True)
                n_faults += row.faults
    if n_faults:
        sys.exit(1)


if __name__ == "__main__":
    _KIND = flags.DEFINE_list("kind", [], f"Of {', '.join(KINDS)}; all if empty.")
    _N = flags.DEFINE_integer("n", 1000, "Mutations of each kind.", lower_bound=1)
    _FIRST = flags.DEFINE_integer("first", 0, "The number of the first of them.")
    _SEED = flags.DEFINE_integer("seed", 0, "Of the mutations.", lower_bound=0)
    _FAULTS = flags.DEFINE_string("faults", None, "Folder to keep the faulty files in.")
    program.run(main)
