"""Spoken-language video retrieval: AVLnet and its multilingual cascade in Keras."""

import os
import platform
import sys
from typing import TYPE_CHECKING

from avl_tf import keras_settings, offspring, terminal

if TYPE_CHECKING:
    from avl_tf.trained.embedder import Embedder

# The first that a worker process imports: what follows may take it seconds.
offspring.follow_parent()

# Read when TensorFlow is first imported; what the user has set is kept.
# Level 3: TensorFlow 2.16 prints errors about CUDA on machines that have none.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# On x86 without instructions for neural networks TensorFlow leaves oneDNN's operations
# alone; there too a training step takes 0.5 to 0.6 of the time with them.
if platform.machine() in ("x86_64", "AMD64"):
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
keras_settings.pin()

# Its imports take seconds, in which a program may be interrupted: in one line too.
if terminal.is_program(sys.orig_argv):
    sys.excepthook = terminal.tell_uncaught

__version__ = "0.1.0"


def load(
    path: str | os.PathLike,
    weights_2d: str | os.PathLike = "",
    weights_3d: str | os.PathLike = "",
    weights: str = "",
) -> "Embedder":
    """Loads a trained model, to embed speech and videos with it.

        model = avl_tf.load("runs/demo/ro")
        audio = model.embed_audio("query.wav")
        video = model.embed_video(["a.mp4", "b.mp4"])
        best = model.similarity(audio, video).argmax()

    Args:
        path: a run directory or an export of one, local or remote.
        weights_2d, weights_3d: files of the weights of the CNNs that the run's records
            name, where those are not a package's own.
        weights: which of a run are taken: "best" (by --best_metric), "last", or "" for
            those that stand for it, the best if it keeps them. Those that an export
            was made with must be these.

    Returns:
        The model, with embed_audio, embed_video, similarity, languages, embedding_dim.

    Raises:
        FileNotFoundError: the folder is neither, or the run has no checkpoint yet, or
            there is no such file of weights.
        ValueError: the model is damaged, has no use for such weights of CNNs, or does
            not keep the weights asked for.
    """
    from avl_tf import trained  # it imports TensorFlow, which takes seconds

    of_cnns = (os.fspath(weights_2d), os.fspath(weights_3d))
    return trained.load(os.fspath(path), *of_cnns, weights)
