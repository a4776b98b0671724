"""How much memory a file may ask for, by its size."""

import pickle

from avl_tf.errors import UserError

# What a file makes us allocate for arrays, in file sizes: a bfloat16 tensor is stored
# once, widened to float32 and then perhaps brought into order, 2 + 2.
_ARRAYS = 4
_SMALL_FILE = 1 << 20
# For all else: Python takes 7 to 12 bytes for a byte of an annotation's pickle.
_OBJECTS = 16
_FEW_OBJECTS = 32 << 20
# What is shared, as JSON would write it: again wherever it stands.
_UNSHARED = 32

# Bytes that Python takes, a reference on the stack included.
REFERENCE, NUMBER, LIST, TUPLE, DICT, KEY, OBJECT = 8, 40, 96, 72, 240, 48, 600
# What a pickle's instruction leaves behind; of others it is a reference, and what their
# functions count.
COSTS = {
    **dict.fromkeys([pickle.INT, pickle.BININT, pickle.BININT2], NUMBER),
    **dict.fromkeys([pickle.FLOAT, pickle.BINFLOAT], NUMBER),
    **dict.fromkeys([pickle.EMPTY_LIST, pickle.LIST, pickle.MARK], LIST),
    **dict.fromkeys([pickle.EMPTY_DICT, pickle.DICT], DICT),
    **dict.fromkeys([pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3], TUPLE),
}


class Budget:
    """What one file may still ask for.

    A few bytes of a pickle can name the same megabytes again and again, and one byte is
    a whole list.

    Attributes:
        objects: bytes left for what is no array.
    """

    def __init__(self, file_size: int):
        self._size = max(file_size, _SMALL_FILE)
        self._arrays = _ARRAYS * self._size
        self.objects = max(_OBJECTS * file_size, _FEW_OBJECTS)

    def spend(self, size: int) -> None:
        """Takes size bytes for an array.

        Raises:
            ValueError: too few are left.
        """
        self._arrays -= size
        if self._arrays < 0:
            raise UserError(
                f"its arrays take more than {_ARRAYS} times the file's size: it names "
                "the same data many times over"
            )

    def count(self, size: int) -> None:
        """Takes size bytes for an object; raises as spend."""
        self.objects -= size
        if self.objects < 0:
            self.refuse()

    def refuse(self) -> None:
        """Raises ValueError: there are too many objects."""
        raise UserError(
            f"its lists, dictionaries and values take more than {_OBJECTS} times the "
            "file's size: it is no file of arrays"
        )

    def require_written_out(self, size: int) -> None:
        """Raises ValueError if the values, nothing of them shared, are too many bytes.

        Whoever writes them elsewhere writes what is shared again and again.
        """
        if size > _UNSHARED * self._size:
            raise UserError(
                f"its values are more than {_UNSHARED} times the file's size when "
                "written out: it names the same data many times over"
            )
