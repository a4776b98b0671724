"""The fenced blocks of the documentation's pages, and the commands in them."""

import re
import shlex
from typing import NamedTuple

from programs import ROOT

# README first: the other pages go on from what it makes.
PAGES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("data", "builder", "training", "evaluation")),
    "docs/qualitative.md",
    *("docs/bilingual.md", "docs/experiments.md", "docs/search.md", "docs/serving.md"),
    "docs/units.md",
    *("docs/concepts.md", "docs/matchmaps.md"),
    *(f"docs/{name}.md" for name in ("remote", "reproduce", "reliability")),
    *("docs/performance.md", "docs/gpu.md"),
    "CONTRIBUTING.md",
]
KINDS = {"sh", "python", "json", "text"}
_BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block; `reason` says why its commands are not run by the test."""

    kind: str
    text: str
    reason: str | None

    @property
    def commands(self):
        """The lines of a shell, each as its words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = [shlex.split(line, comments=True) for line in lines]
        return [each for each in words if each]


def blocks(page):
    """All blocks of a page, in its order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(m["kind"], m["text"], m["reason"]) for m in _BLOCK.finditer(text)]


def unfenced(page):
    """Lines that look like commands and stand in no block."""
    text = _BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return re.findall(r"^(?: {4,}|```)(?=\S*(?:python|make|```)).*", text, re.MULTILINE)
