"""The terms of a stage's loss: which branches they bring together, and how strongly."""

import itertools
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from avl_tf.errors import UserError
from avl_tf.settings import branches as flags_of
from avl_tf.settings.clips import ClipConfig
from avl_tf.settings.stage import MARGINS, OF_ONE_LOSS, StageConfig


class Pair(NamedTuple):
    """Two branches that are to meet; of a loss of one direction first is the query."""

    first: str
    second: str
    weight: float = 1.0

    @property
    def name(self) -> str:
        """As in audio:es-visual."""
        return f"{self.first}-{self.second}"


class Guidance(NamedTuple):
    """Two branches of sound, the second of which learns from the first."""

    guide: str
    learner: str

    @property
    def name(self) -> str:
        """As in es>ro."""
        return ">".join(branch.removeprefix("audio:") for branch in self)


class Terms(NamedTuple):
    """What is summed: pairs, and guidance by the queue and by distillation."""

    pairs: tuple[Pair, ...]
    neighbors: tuple[Guidance, ...]
    distilled: tuple[Guidance, ...]


def plan(
    stage: StageConfig, branches: Sequence[str], learning: Collection[str]
) -> Terms:
    """Settles the terms of a stage.

    Args:
        stage: its settings.
        branches: of the model, as ModelConfig.branches.
        learning: those that are not frozen.

    Returns:
        The pairs of --terms, or all of which a branch learns; for the queue and for
        distillation, those (guide, learner) of which the learner learns.

    Raises:
        UserError: settings contradict each other or name what is not there, or a branch
            would learn from no term.
    """
    _check_loss(stage)
    if stage.loss == "mil_nce" and len(branches) > 2:
        raise UserError(
            "--loss=mil_nce is for one language: several are not spoken in the same "
            f"windows. This model has {', '.join(branches[:-1])}."
        )
    pairs = _pairs(stage, branches, learning)
    guided = _guided(stage, branches, learning)
    neighbors = guided if stage.nn_queue else ()
    distilled = guided if stage.distill_weight else ()
    taught = {name for pair in pairs for name in pair[:2]}
    taught |= {one.learner for one in (*neighbors, *distilled)}
    for name in branches:
        if name in learning and name not in taught:
            raise UserError(
                f"--terms: '{name}' is in none of them and would not learn. Add a term "
                "of it, or --freeze it."
            )
    return Terms(pairs, neighbors, distilled)


def check_loss(stage: StageConfig, clips: ClipConfig) -> None:
    """Raises UserError for settings or training clips that the loss has no use for."""
    _check_loss(stage)
    if stage.loss == "mil_nce" and clips.clip_sampling != "random":
        raise UserError(
            f"--clip_sampling={clips.clip_sampling}: --loss=mil_nce takes windows "
            "beside a clip as other sounds of it, which random clips have only."
        )


def unused(stage: StageConfig) -> dict[str, str]:
    """The settings that its losses have no use for, each with why.

    check_loss refuses those of one loss; these stand in flagfiles that losses share.
    """
    found = {}
    if not stage.nn_queue:
        if stage.loss != "infonce":
            found["temperature"] = f"--loss={stage.loss} has none"
        for name in ("nn_weight", "nn_until_full"):
            found[name] = "there is no --nn_queue"
    if not stage.distill_weight:
        found["distill_temperature"] = "there is no --distill_weight"
    if stage.loss != "triplet":
        found["triplet_imposters"] = "it is for --loss=triplet"
    return found


def _check_loss(stage: StageConfig) -> None:
    """Raises UserError for settings that the loss has no use for."""
    if stage.margin is not None and stage.loss not in MARGINS:
        raise UserError(f"--loss={stage.loss} has no margin: leave out --margin.")
    if stage.loss_directions != "both" and stage.loss != "infonce":
        raise UserError(
            f"--loss_directions={stage.loss_directions} is for --loss=infonce only; "
            f"{stage.loss} has both."
        )
    for name, (loss, _) in OF_ONE_LOSS.items():
        given = getattr(stage, name)
        if given is not None and stage.loss != loss:
            raise UserError(
                f"--{name}={given} is for --loss={loss} only; leave it out of "
                f"{stage.loss}."
            )
    if stage.hard_negative_rate and stage.loss != "max_margin":
        raise UserError(
            f"--hard_negative_rate={stage.hard_negative_rate:g} is for "
            f"--loss=max_margin only; leave it out of {stage.loss}."
        )
    if stage.batch_size < 2:
        raise UserError(
            f"--batch_size={stage.batch_size}: a clip has nothing to be told from. "
            "Give 2 or more."
        )


def _pairs(
    stage: StageConfig, branches: Sequence[str], learning: Collection[str]
) -> tuple[Pair, ...]:
    if not stage.terms:
        all_pairs = itertools.starmap(Pair, itertools.combinations(branches, 2))
        return tuple(one for one in all_pairs if {*one[:2]} & {*learning})
    found: list[Pair] = []
    for item in stage.terms:
        pair = _parse(item, branches)
        if pair.first == pair.second:
            raise UserError(f"--terms: '{item}' is of '{pair.first}' with itself.")
        if not {*pair[:2]} & {*learning}:
            raise UserError(
                f"--terms: in '{item}' both branches are frozen, so that nothing "
                "learns from it. Leave it out."
            )
        one_way = stage.loss == "infonce" and stage.loss_directions == "one"
        for other in found:
            same = pair[:2] == other[:2] if one_way else {*pair[:2]} == {*other[:2]}
            if same:
                raise UserError(f"--terms: '{item}' stands twice; give one weight.")
        found.append(pair)
    return tuple(found)


def _parse(item: str, branches: Sequence[str]) -> Pair:
    """Reads A-B or A-B=WEIGHT; the name of a language may hold a dash itself."""
    text, equals, number = item.partition("=")
    weight = 1.0
    if equals:
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise UserError(
                f"--terms: the weight in '{item}' is no number above 0; expected A-B "
                "or A-B=WEIGHT, as in audio:1-visual=0.5."
            )
    parts = text.split("-")
    splits = [
        ("-".join(parts[:place]), "-".join(parts[place:]))
        for place in range(1, len(parts))
    ]
    for both in splits:
        try:
            first, second = (flags_of.named(one, branches, "terms") for one in both)
        except UserError:
            continue
        return Pair(first, second, weight)
    if len(splits) == 1:
        for one in splits[0]:
            flags_of.named(one, branches, "terms")
    raise UserError(
        f"--terms: '{item}' is no pair of branches. Expected A-B or A-B=WEIGHT with "
        f"two of {', '.join(branches)}."
    )


def _guided(
    stage: StageConfig, branches: Sequence[str], learning: Collection[str]
) -> tuple[Guidance, ...]:
    """Who learns from whom, if the queue or distillation is asked for."""
    asked = [
        f"--{name}={getattr(stage, name):g}"
        for name in ("nn_queue", "distill_weight")
        if getattr(stage, name)
    ]
    if not asked:
        if stage.nn_guides:
            raise UserError("--nn_guides needs an --nn_queue or a --distill_weight.")
        return ()
    heard = [name for name in branches if name.startswith("audio")]
    if len(heard) < 2:
        raise UserError(
            f"{asked[0]} needs two languages, of which one learns from the other: name "
            "them in --records, as in --records=es=PATH,ro=PATH."
        )
    guides = [flags_of.named(one, branches, "nn_guides") for one in stage.nn_guides]
    if "visual" in guides:
        raise UserError("--nn_guides: 'visual' is no language.")
    found = tuple(
        Guidance(guide, learner)
        for guide, learner in itertools.permutations(heard, 2)
        if learner in learning and guide in (guides or heard)
    )
    if not found:
        raise UserError(
            f"{asked[0]}: no language is left to learn from another. Leave it out, or "
            "change --freeze or --nn_guides."
        )
    return found
