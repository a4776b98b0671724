"""What a page of queries and their best clips shows."""

import dataclasses
import os
from collections.abc import Sequence

from avl_tf.errors import UserError
from avl_tf.settings import SEEDS, setting


@dataclasses.dataclass(frozen=True)
class ExhibitionConfig:
    """Which queries, and how many clips of each."""

    queries: tuple[str, ...] = setting(
        (),
        "Queries, clips by their ids RECORD@START-END or the first of a RECORD, with "
        "commas between; if left out some at random.",
    )
    n_queries: int = setting(8, "Queries drawn at random.", lower=1, upper=1000)
    seed: int = setting(0, "Seed of the draw.", upper=SEEDS)
    n_best: int = setting(5, "Best clips shown of each model.", lower=1, upper=100)
    direction: str = setting(
        "a2v",
        "Search by what is heard (a2v), by what is seen (v2a), or show both.",
        choices=("a2v", "v2a", "both"),
    )

    @property
    def directions(self) -> tuple[str, ...]:
        """Those that are shown."""
        return ("a2v", "v2a") if self.direction == "both" else (self.direction,)

    @staticmethod
    def named(models: Sequence[str]) -> dict[str, str]:
        """Reads models by name: NAME=PATH, or PATH, called as its last folder.

        Raises:
            UserError: two are called alike.
        """
        found: dict[str, str] = {}
        for item in map(str.strip, models):
            name, equals, path = item.partition("=")
            if not equals or os.path.exists(item):
                name, path = os.path.basename(item.rstrip("/")), item
            name, path = name.strip(), path.strip()
            if not name or not path:
                raise UserError(f"--models: expected PATH or NAME=PATH, got '{item}'.")
            if name in found:
                raise UserError(
                    f"--models: {found[name]} and {path} are both called '{name}'. "
                    "Name them, NAME=PATH."
                )
            found[name] = path
        return found
