r"""Serves a page on which somebody speaks and finds the clip.

    python -m avl_tf.app --index_dir=indexes/ro
    python -m avl_tf.app --index_dir=es=indexes/es,ro=indexes/ro

Open the address that it prints: hold the button and speak, or drop a file. Of several
indexes, such as those of the stages of a cascade, the page has a switch; the first is
the default. Programs ask /v1/search, and /v1/models/NAME:predict as TensorFlow Serving;
/healthz and /metrics are for whoever watches it. It listens on this machine alone
unless --host says otherwise.
"""

from absl import flags

from avl_tf import program, settings
from avl_tf.settings.server import ServerConfig

_INDEX_DIR = flags.DEFINE_list(
    "index_dir",
    None,
    "Index directory that avl_tf.index made; or several, NAME=DIR with commas between.",
    required=True,
)
_MODEL = flags.DEFINE_list(
    "model",
    [],
    "Where the model of the index is now, a run directory or an export, if it is not "
    "where it was; of several indexes NAME=DIR with commas between.",
)
_WEIGHTS_2D = flags.DEFINE_string(
    "weights_2d", "", "Weights of the 2-D CNN, to search by a video: a .pth."
)
_WEIGHTS_3D = flags.DEFINE_string("weights_3d", "", "The same of the 3-D CNN.")
_ERROR_RATE = settings.define_float(
    "error_rate",
    0.1,
    "Of queries like the validation clips that fit nothing, so many at most are called "
    "a match.",
    0.001,
    0.5,
)
settings.define_flags(ServerConfig)


def main() -> None:
    config = settings.from_flags(ServerConfig)

    from avl_tf.server import running

    running.run(
        _INDEX_DIR.value,
        _MODEL.value,
        config,
        weights_2d=_WEIGHTS_2D.value,
        weights_3d=_WEIGHTS_3D.value,
        error_rate=_ERROR_RATE.value,
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
