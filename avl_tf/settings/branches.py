"""The branches of a model as flags name them, and where their weights are from."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avl_tf.errors import UserError
from avl_tf.settings.stage import StageConfig


class Start(NamedTuple):
    """The run whose weights a branch starts from, and its branch; "" is not said."""

    run: str
    branch: str


def named(text: str, branches: Sequence[str], flag: str) -> str:
    """The branch that a flag means.

    Args:
        text: a branch, or its place among those that hear: audio:1 is the first
            language of --records, so that a flagfile need not know which that is.
        branches: of the model, as ModelConfig.branches.
        flag: its name, for the message.

    Raises:
        UserError: the model has no such branch; names those it has.
    """
    heard = [branch for branch in branches if branch.startswith("audio")]
    places = {f"audio:{place}": branch for place, branch in enumerate(heard, 1)}
    found = places.get(text.strip(), text.strip())
    if found not in branches:
        raise UserError(
            f"--{flag}: '{text}' is no branch of this model, which has "
            f"{', '.join(branches)}. Its languages are those that --records names."
        )
    return found


def starts(
    stage: StageConfig, init_from: str | None, branches: Sequence[str]
) -> dict[str, Start]:
    """Which branches do not start at random, by name.

    Raises:
        UserError: --init_branches names a branch twice or one that is not there, or
            one whose run is not said.
    """
    if not stage.init_branches:
        return {name: Start(init_from, "") for name in branches} if init_from else {}
    found: dict[str, Start] = {}
    for item in stage.init_branches:
        text, _, source = item.partition("=")
        name = named(text, branches, "init_branches")
        run, _, branch = source.partition("@")
        if name in found:
            raise UserError(f"--init_branches: '{name}' stands twice.")
        if not (run.strip() or init_from):
            raise UserError(
                f"--init_branches: '{item}' says of no run: give --init_from, or write "
                f"{text.strip()}=RUN_DIR."
            )
        found[name] = Start(run.strip() or init_from or "", branch.strip())
    return found


def source_of(
    name: str, start: Start, branches: Sequence[str], languages: Sequence[str]
) -> str:
    """The branch of a run that one of this model starts from.

    Args:
        name: of this model's branch.
        start: its.
        branches: of the run.
        languages: of the records that this model is to be trained on.

    Raises:
        UserError: the run has no such branch, or several that may be meant.
    """
    heard = [branch for branch in branches if branch.startswith("audio")]
    wanted = start.branch or name
    if wanted in branches:
        return wanted
    if not start.branch and len(heard) == 1:
        return heard[0]
    own = [f"audio:{language}" for language in languages]
    if name == "audio" and len(own) == 1 and own[0] in heard and not start.branch:
        return own[0]
    raise UserError(
        f"{start.run} has the branches {', '.join(branches)}, and '{wanted}' is none "
        f"of them. Say which by --init_branches={name}={start.run}@{heard[-1]}, and "
        "name all others that start from a run there too."
    )


def frozen(
    stage: StageConfig,
    branches: Sequence[str],
    begun: Mapping[str, Start],
    shared_audio: bool,
) -> tuple[str, ...]:
    """The branches that do not learn.

    Raises:
        UserError: nothing is left to learn, a branch would stay at random weights, or
            a part of those that share their weights is named.
    """
    found = tuple({named(text, branches, "freeze"): None for text in stage.freeze})
    heard = [branch for branch in branches if branch.startswith("audio")]
    if set(found) == set(branches):
        raise UserError(
            f"--freeze={','.join(stage.freeze)} freezes all there is: leave out the "
            "branch that is to learn."
        )
    for name in found:
        if name not in begun:
            raise UserError(
                f"--freeze: '{name}' would stay at random weights. Give the run that "
                "it is from, by --init_from or --init_branches."
            )
    of_audio = [name for name in found if name in heard]
    if shared_audio and of_audio and len(of_audio) < len(heard):
        raise UserError(
            "--shared_audio: all languages have the same weights, so that --freeze "
            f"needs all of {', '.join(heard)}, or none."
        )
    return found


def suffix(branch: str) -> str:
    """What an export's signatures of a branch end in: _es of audio:es, else nothing."""
    language = branch.partition(":")[2]
    return language and f"_{language}"


def summary(
    branches: Sequence[str], begun: Mapping[str, Start], frozen: Sequence[str]
) -> str:
    """One line: where each branch starts, and which do not learn."""
    found = []
    for name in branches:
        run, branch = begun.get(name, Start("", ""))
        start = f"from {run}{branch and '@' + branch}" if run else "from scratch"
        found.append(f"{name} {start}{', frozen' if name in frozen else ''}")
    return "; ".join(found)
