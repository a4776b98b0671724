"""Keras as this package needs it, whatever keras.json and the environment say.

Keras reads both once, when its own settings are first imported, which `import
tensorflow` does. Another backend, data format or type of numbers would make other
models of ours, or none.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable
from types import ModuleType

from avl_tf.errors import UserError

_SETTINGS = "keras.src.backend.config"
# The Keras inside of TensorFlow, and Keras 2, read the same file as they are imported.
_READERS = (_SETTINGS, "tensorflow.python.keras.backend", "tf_keras.src.backend")
_BACKEND = "tensorflow"


def pin() -> None:
    """Sees to it that Keras is, or will be, on TensorFlow with its own defaults.

    Where Keras is imported later, nothing of the user's settings is read or written but
    the folder for downloads; where it is there already, they are changed.

    Raises:
        ValueError: it is there already, on another backend.
    """
    loaded = sys.modules.get(_SETTINGS)
    if loaded is None:
        sys.meta_path.insert(0, _Finder())
    elif loaded.backend() != _BACKEND:
        raise UserError(
            f"keras was imported before avl_tf, with the backend {loaded.backend()}. "
            "Import avl_tf first, or set KERAS_BACKEND=tensorflow."
        )
    else:
        loaded.set_floatx("float32")
        loaded.set_epsilon(1e-7)
        loaded.set_image_data_format("channels_last")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that read settings, to be run where there is none to read."""

    def __init__(self):
        home = os.path.expanduser("~")
        home = home if os.access(home, os.W_OK) else "/tmp"  # as Keras does
        self._folder = os.environ.get("KERAS_HOME", os.path.join(home, ".keras"))

    def find_spec(self, fullname, path, target=None):
        if fullname not in _READERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader:
            execute = spec.loader.exec_module
            vars(spec.loader)["exec_module"] = lambda module: self._run(execute, module)
        return spec

    def _run(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        users = {k: v for k, v in os.environ.items() if k.startswith("KERAS_")}
        for name in users:
            del os.environ[name]
        # In a folder that is none there is no keras.json, and none can be made.
        os.environ.update(KERAS_HOME=os.devnull, KERAS_BACKEND=_BACKEND)
        try:
            execute(module)
        finally:
            del os.environ["KERAS_HOME"], os.environ["KERAS_BACKEND"]
            os.environ.update(users)
        if module.__name__ == _SETTINGS:
            vars(module)["_KERAS_DIR"] = self._folder
