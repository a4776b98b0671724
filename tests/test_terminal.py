"""Foreign text made visible, and a stream that writes no other."""

import contextlib
import io
import os
import subprocess
import sys

import pytest
from programs import ROOT, environment

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


@pytest.mark.parametrize("ends", [True, False])
def test_what_nobody_reads_any_more_is_lost_or_ends_the_program(ends):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as under:
        stream = VisibleStream(under, ends)
        stream.write("a")
        given = pytest.raises(SystemExit) if ends else contextlib.nullcontext()
        with given as found:
            stream.flush()
        assert not ends or found.value.code == 141
        stream.write("b")
        stream.flush()


@pytest.mark.parametrize(
    "program",
    ["avl_tf.configs", "avl_tf.sweep --helpshort", "avl_tf.configs demo.flags"],
)
def test_a_listing_behind_head_ends_without_a_word(program):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", *program.split()]
    done = subprocess.run(
        command, stdout=write_end, stderr=subprocess.PIPE, env=environment(), cwd=ROOT
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")
