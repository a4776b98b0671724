"""TensorBoard's HParams: settings by their flags, and what each reached.

A view only, in FOLDER/hparams, of what sweep.json holds. A setting is a group of
sessions, one a seed.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf
from tensorboard.plugins.hparams import api

from avl_tf import files

Values = Mapping[str, bool | float | str]


def write(
    folder: str,
    varied: Mapping[str, Values],
    tags: Sequence[str],
    measured: Mapping[tuple[str, int], Mapping[str, float]],
) -> None:
    """Writes all anew: first which flags have which values, then the sessions.

    Args:
        folder: of the sweep.
        varied: the flags of each setting; all have the same.
        tags: of what is measured.
        measured: by setting and seed, the metrics by their tags; {} before training.
    """
    below = files.join(folder, "hparams")
    if tf.io.gfile.exists(below):
        tf.io.gfile.rmtree(below)
    domains: dict[str, dict] = {}
    for values in varied.values():
        for flag, value in values.items():
            domains.setdefault(flag, {})[value] = None
    with _writing(below):
        api.hparams_config(
            [api.HParam(flag, api.Discrete(list(of))) for flag, of in domains.items()],
            [api.Metric(tag) for tag in tags],
        )
    for (setting, seed), values in measured.items():
        with _writing(files.join(below, setting, f"seed{seed}")):
            api.hparams(dict(varied[setting]), trial_id=setting)
            for tag, value in values.items():
                tf.summary.scalar(tag, value, step=0)


@contextlib.contextmanager
def _writing(folder: str) -> Iterator[None]:
    writer = tf.summary.create_file_writer(folder)
    with writer.as_default():
        yield
    writer.close()
