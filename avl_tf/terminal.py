"""What foreign text may do to a terminal: nothing. No TensorFlow here.

File names, ids of manifests, keys of checkpoints and the words of libraries about them
may hold anything: escapes that hide or rewrite lines, marks that turn the order of
letters, halves of characters that no stream can encode.
"""

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

# Controls of both kinds, the marks and overrides of writing direction, the separators
# that some terminals take for a new line, and lone surrogates.
_OF_TEXT = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff"
)
_IN_TEXT = re.compile(f"[{_OF_TEXT}]")
_IN_LINE = re.compile(f"[{_OF_TEXT}\t\n]")


def visible(text: str) -> str:
    r"""Writes what would not be seen as it is in Python: \x1b, \n, \u202e."""
    return _IN_LINE.sub(_escape, text)


def visible_lines(text: str) -> str:
    """As visible, but for the ends of lines and tabulators."""
    return _IN_TEXT.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in "\t\n":
        return "\\t" if character == "\t" else "\\n"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class VisibleStream:
    """A stream of text that writes visible_lines of what it is given.

    On a terminal a carriage return at the start of a text stays: a progress bar's.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self._bar = "\r" if stream.isatty() else ""

    def write(self, text: str) -> int:
        """Writes a text, and returns the length that was given."""
        bar = self._bar if self._bar and text.startswith(self._bar) else ""
        self._stream.write(bar + visible_lines(text[len(bar) :]))
        return len(text)

    def writelines(self, lines) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def is_program(command: Sequence[str]) -> bool:
    """Whether a process was started as one of our programs, by a sys.orig_argv."""
    ours = ("avl_tf.", "data_prep.", "benchmarks.")
    words = [*command[1:], "", ""]
    if "-m" in words:
        return words[words.index("-m") + 1].startswith(ours)
    return os.path.basename(words[0]).startswith("avl-")


def tell_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """A sys.excepthook: an interruption is one line, the rest as ever."""
    if issubclass(kind, KeyboardInterrupt):
        print("stopped before it began", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def protect() -> None:
    """Lets standard output and error write visible text only, from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, VisibleStream):
            continue
        with contextlib.suppress(AttributeError):  # a stream of a notebook, of a test
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, VisibleStream(stream))
