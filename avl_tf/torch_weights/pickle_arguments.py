"""The arguments of a pickle's instructions, which stand behind them in the file."""

import codecs
import pickle
import pickletools
from struct import Struct

from avl_tf.errors import UserError

_STAYS_IN_FILE = 256  # bytes; shorter strings are read at once


def _read_quoted(window):
    # pickletools' own reader takes ASCII only; Python 2 wrote bytes this way too.
    line = window.readline().removesuffix(b"\n")
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise UserError("it is damaged: a string in its pickle has no quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _bytes_reader(length):
    def read(window):
        (size,) = length.unpack(window.read(length.size))
        return (window.read if size < _STAYS_IN_FILE else window.cut)(size)

    return read


# pickletools knows how the argument of each instruction is written.
READERS = {
    info.code.encode("latin-1"): info.arg.reader
    for info in pickletools.opcodes
    if info.arg is not None
} | {
    pickle.STRING: _read_quoted,
    pickle.SHORT_BINBYTES: _bytes_reader(Struct("<B")),
    pickle.BINBYTES: _bytes_reader(Struct("<I")),
    pickle.BINBYTES8: _bytes_reader(Struct("<Q")),
    pickle.BYTEARRAY8: _bytes_reader(Struct("<Q")),
}
