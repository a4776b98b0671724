"""A training that is stopped and started again, held against one that is not."""

import numpy as np
import pytest

from avl_tf import runs
from avl_tf.training import loop


def assert_goes_on_to_the_same_weights(train, folder, monkeypatch, stop_at):
    """train(run_dir) trains; it is stopped as its evaluation number stop_at ends."""
    whole = train(folder / "whole")
    real_brief, n_evaluations = loop.brief, []

    def stop(values):
        n_evaluations.append(1)
        if len(n_evaluations) == stop_at:
            raise KeyboardInterrupt
        return real_brief(values)

    monkeypatch.setattr(loop, "brief", stop)
    with pytest.raises(KeyboardInterrupt):
        train(folder / "stopped")
    assert train(folder / "stopped") == whole
    models = [runs.load_model(str(folder / name))[0] for name in ("whole", "stopped")]
    weights = [model.get_weights() for model in models]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
