"""Opens indexes to be served, each with its model, which is heard once."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from avl_tf import media
from avl_tf.retrieval.answers import Answer
from avl_tf.retrieval.engine import Engine
from avl_tf.server.site import Served

_WARM_UP_S = 3


def served(
    named: Mapping[str, str], models: Mapping[str, str], **of_engine: Any
) -> dict[str, Served]:
    """Opens index directories by name.

    Args:
        named: the folders, the default first.
        models: where their models are now, of those that are not where they were.
        of_engine: more of Engine.open.

    Raises:
        FileNotFoundError, UserError: one cannot be opened; says which and why.
    """
    opened = {}
    for name, folder in named.items():
        begun = time.monotonic()
        engine = Engine.open(folder, models.get(name, ""), **of_engine)
        one = Served(name, engine, models.get(name) or engine.store.model.path)
        answer = _warm_up(one)
        logging.info(
            "%s: %s windows, opened in %.1f s",
            name,
            f"{one.store.n_windows:,}",
            time.monotonic() - begun,
        )
        if answer.match is None:
            logging.warning("%s: %s", name, answer.calibrated)
        opened[name] = one
    return opened


def _warm_up(one: Served) -> Answer:
    """The first search takes seconds more: TensorFlow prepares its functions."""
    noise = np.random.default_rng(0).normal(0, 0.1, _WARM_UP_S * media.SAMPLE_RATE)
    source = noise.astype(np.float32).clip(-1, 1), media.SAMPLE_RATE
    language = next(iter(one.about["branches"]), "und")
    return one.engine.search(source, by="audio", language=language, n=1)
