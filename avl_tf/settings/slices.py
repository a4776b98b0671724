"""Which parts of an evaluation set are told apart."""

import dataclasses
import re

from avl_tf import comma_lists
from avl_tf.errors import UserError
from avl_tf.settings import SEEDS, setting

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class SliceConfig:
    """Slices of evaluation sets, and what their clips are ranked among."""

    slices: tuple[str, ...] = setting(
        (),
        "Slices of each set by a field of its clips: FIELD for every value there is, "
        "FIELD=VALUE for one, FIELD=0,5,10 for numbers from one to below the next, as "
        "in language,duration=0,5,10. Fields are duration (seconds), n_words, label, "
        "language and what the records' labels hold, or a --manifest.",
    )
    slice_ranks: str = setting(
        "within",
        "Rank a slice's clips among themselves, or among all clips of the set.",
        choices=("within", "all"),
    )
    sounds: str | None = setting(
        None,
        "The Speech/Sounds protocol: FIELD=VALUE of the clips without a word, as "
        "n_words=0. All n of them, and n of the others at random, are each ranked "
        "within themselves (AVLnet's Sounds-241 and Speech-241).",
    )
    slice_seed: int = setting(0, "Seed of what --sounds draws.", upper=SEEDS)
    manifest: tuple[str, ...] = setting(
        (),
        "Manifests with the fields that records do not keep, SET=PATH with commas "
        "between: those of each clip beside its times and label, and of the line.",
    )

    def __post_init__(self) -> None:
        self.wanted()
        self.sounds_are()

    def wanted(self) -> dict[str, tuple[str, ...]]:
        """The fields, and of each the values or the edges that are named, if any.

        Raises:
            UserError: an item is none, or a field stands twice.
        """
        found: dict[str, tuple[str, ...]] = {}
        last = ""
        for item in map(str.strip, self.slices):
            if last and _NUMBER.fullmatch(item):
                found[last] += (item,)
                continue
            field, equals, text = (part.strip() for part in item.partition("="))
            if not field or bool(equals) != bool(text):
                raise UserError(
                    f"--slices: expected FIELD, FIELD=VALUE or FIELD=0,5,10, got "
                    f"'{item}'."
                )
            if field in found and not (equals and found[field]):
                raise UserError(f"--slices: '{field}' stands twice. Name it once.")
            numbers = [part.strip() for part in text.split(",")]
            split = all(map(_NUMBER.fullmatch, numbers))
            values = tuple(numbers) if split else (text,)
            found[field] = found.get(field, ()) + (values if equals else ())
            last = field if equals else ""
        return found

    def manifests(self) -> dict[str, str]:
        """The paths of manifests by set; ValueError as comma_lists.parse_named."""
        return comma_lists.parse_named(self.manifest, "manifest", "PATH")

    def sounds_are(self) -> tuple[str, str] | None:
        """The field of clips without a word and its value; None if not asked for.

        Raises:
            UserError: there is no field.
        """
        if self.sounds is None:
            return None
        field, equals, value = (part.strip() for part in self.sounds.partition("="))
        if not field or not equals:
            raise UserError(
                f"--sounds={self.sounds}: expected FIELD=VALUE of the clips without "
                "speech, such as n_words=0."
            )
        return field, value
