"""models.config: what TensorFlow Serving reads to serve all stages of a cascade.

tensorflow_model_server --rest_api_port=8501 --model_config_file=DIR/models.config
"""

import os

import tensorflow as tf

from avl_tf import files, runs
from avl_tf.serving.versions import folder

NAME = "models.config"


def stages(cascade_dir: str) -> list[str]:
    """The run directories within a cascade's folder, in order of their names."""
    if not tf.io.gfile.isdir(cascade_dir):
        return []
    below = [files.join(cascade_dir, name) for name in sorted(files.names(cascade_dir))]
    return [path for path in below if runs.exists(path)]


def write(cascade_dir: str) -> str:
    """Writes CASCADE_DIR/models.config: its stages that are exported, by their names.

    The paths in it are absolute: write it again, by avl_tf.export, where it has moved.

    Returns:
        The file's path.
    """
    lines = ["model_config_list {"]
    for path in stages(cascade_dir):
        exports = folder(path)
        if not tf.io.gfile.exists(exports):
            continue
        if "://" not in exports:
            exports = os.path.abspath(exports)
        lines += [
            "  config {",
            f"    name: {_quoted(path.rpartition('/')[2])}",
            f"    base_path: {_quoted(exports)}",
            '    model_platform: "tensorflow"',
            "  }",
        ]
    written = files.join(cascade_dir, NAME)
    files.write_text(written, "\n".join([*lines, "}", ""]))
    return written


def _quoted(text: str) -> str:
    """A text as protobuf's text format has it."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\')
    escaped = (chr(b) if b in plain else f"\\{b:03o}" for b in os.fsencode(text))
    return f'"{"".join(escaped)}"'
