"""Foreign text made visible, and a stream that writes no other."""

import io

import pytest

from avl_tf.terminal import VisibleStream, visible, visible_lines


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\x00", r"a\x0db\x00"),
        ("a\nb\tc", r"a\nb\tc"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("\ud800\udcff", r"\ud800\udcff"),
        ("हिन्दी क्\u200dष, 日本語, é, \\x1b", "हिन्दी क्\u200dष, 日本語, é, \\x1b"),
    ],
)
def test_what_cannot_be_seen_is_written_as_python_writes_it(text, seen):
    assert visible(text) == seen
    assert visible_lines(text) == seen.replace(r"\n", "\n").replace(r"\t", "\t")
    seen.encode()


def test_a_progress_bar_may_return_to_the_start_of_a_terminals_line():
    for kind, returned in ((_Terminal, "\r"), (io.StringIO, r"\x0d")):
        under = kind()
        stream = VisibleStream(under)
        stream.writelines(["\r 3 of 4", "\rx\r\x1b[1A", "\n"])
        assert under.getvalue() == f"{returned} 3 of 4{returned}x\\x0d\\x1b[1A\n"
