"""What failed of a job: listed in failures.jsonl, and told when a program ends."""

from collections.abc import Sequence

from avl_tf import json_text
from avl_tf.errors import UserError

# What went wrong with a recording: {"id", "media", "reason"}.
Failure = dict[str, str]


def reason(error: Exception | str, media: str) -> str:
    """Says in one line what is wrong with a file, without the path that it has beside.

    Args:
        error: raised over it, or its words.
        media: the file's path, as in the failure.
    """
    text = str(error).removeprefix(f"{media}: ").removesuffix(f": {media!r}")
    return " ".join(text.split())


def to_lines(failures: Sequence[Failure]) -> str:
    """The text of a failures.jsonl."""
    return "".join(json_text.dump(one) + "\n" for one in failures)


def require_none(
    failures: Sequence[Failure], n_tried: int, kind: str, folder: str
) -> None:
    """Ends a program that did its work, but not on all: ValueError if something failed.

    Args:
        failures: what failed.
        n_tried: that, and what did not.
        kind: what they are, as in "recordings".
        folder: where failures.jsonl is.
    """
    if failures:
        raise UserError(told(failures, n_tried, kind, folder))


def told(failures: Sequence[Failure], n_tried: int, kind: str, folder: str) -> str:
    """A line about failures, one at least; the arguments are require_none's."""
    return (
        f"{len(failures)} of {n_tried} {kind} failed, see {folder}/failures.jsonl "
        f"(--retry_failed tries them again); the first is {failures[0]['id']} "
        f"({failures[0]['media']}): {failures[0]['reason']}"
    )
