"""What is worth telling of a line or a recording that goes on: found, listed, counted.

What a recording is lost for is told in failures.py.
"""

import dataclasses
import json
from collections.abc import Sequence

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
    rows = (json.dumps(dataclasses.asdict(f), ensure_ascii=False) for f in findings)
    return "".join(f"{row}\n" for row in rows)


def summary(findings: Sequence[Finding]) -> dict[str, str]:
    """A line a kind, in order: how many there are, the first ids, the first detail."""
    texts = {}
    for kind in sorted({finding.kind for finding in findings}):
        found = [finding for finding in findings if finding.kind == kind]
        first = ", ".join(finding.id for finding in found[:_NAMED])
        rest = ", ..." if len(found) > _NAMED else ""
        texts[kind] = f"{len(found)} {kind} ({first}{rest}: {found[0].detail})"
    return texts
