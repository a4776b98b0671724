"""What foreign text may do to a terminal: nothing. No TensorFlow here.

File names, ids of manifests, keys of checkpoints and the words of libraries about them
may hold anything: escapes that hide or rewrite lines, marks that turn the order of
letters, halves of characters that no stream can encode.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

# Controls of both kinds, the marks and overrides of writing direction, the separators
# that some terminals take for a new line, and lone surrogates.
_OF_TEXT = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff"
)
# As a shell tells of a process that was ended by SIGPIPE.
_UNREAD = 128 + signal.SIGPIPE
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

    On a terminal a carriage return at the start of a text stays: a progress bar's. What
    nobody reads any more, as behind `| head`, ends the process without a word if it is
    standard output, and is lost if it is standard error.
    """

    def __init__(self, stream: Any, ends: bool = False):
        self._stream, self._ends = stream, ends
        self._bar = "\r" if stream.isatty() else ""

    def write(self, text: str) -> int:
        """Writes a text, and returns the length that was given."""
        bar = self._bar if self._bar and text.startswith(self._bar) else ""
        try:
            self._stream.write(bar + visible_lines(text[len(bar) :]))
        except BrokenPipeError:
            self._close()
        return len(text)

    def flush(self) -> None:
        """Writes what is held back."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        # What is still held back would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if self._ends:
            raise SystemExit(_UNREAD)

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
        setattr(sys, name, VisibleStream(stream, ends=name == "stdout"))
