"""What is worth telling of a line or a recording that goes on: found, listed, counted.

What a recording is lost for is told in failures.py.
"""

import dataclasses
from collections.abc import Sequence

from avl_tf import json_text
from avl_tf.manifest import failures

# How many reasons of a kind are told on the terminal, and how many ids of each.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth telling; of which recording, and which file."""

    kind: str
    id: str
    detail: str
    media: str = ""


def to_lines(findings: Sequence[Finding]) -> str:
    """The text of a report: JSON lines {"kind", "id", "detail", "media"}."""
    return "".join(json_text.dump(dataclasses.asdict(f)) + "\n" for f in findings)


def summary(findings: Sequence[Finding]) -> dict[str, str]:
    """A line a kind, in order: how many there are, and the first ids of each detail."""
    texts = {}
    for kind in sorted({finding.kind for finding in findings}):
        ids: dict[str, list[str]] = {}
        for finding in findings:
            if finding.kind == kind:
                detail = failures.reason(finding.detail, finding.media)
                ids.setdefault(detail, []).append(finding.id)
        told = [f"{_first(names)}: {detail}" for detail, names in ids.items()]
        n_found = sum(map(len, ids.values()))
        texts[kind] = f"{n_found} {kind} ({_first(told, '; ')})"
    return texts


def _first(items: Sequence[str], comma: str = ", ") -> str:
    rest = ["..."] if len(items) > _NAMED else []
    return comma.join([*items[:_NAMED], *rest])
