"""A training that is stopped and started again, held against one that is not."""

import numpy as np
import pytest

from avl_tf import runs


def assert_goes_on_to_the_same_weights(train, folder, stop_at):
    """train(run_dir, after_evaluation) trains; it is stopped at evaluation stop_at.

    That is the worst moment: recall.json has the evaluation, no checkpoint has it yet.
    """
    entries = []

    def stop(entry):
        entries.append(entry)
        if len(entries) == stop_at:
            raise KeyboardInterrupt

    whole = train(folder / "whole", lambda entry: None)
    with pytest.raises(KeyboardInterrupt):
        train(folder / "stopped", stop)
    assert entries == whole["history"][:stop_at]
    ended = train(folder / "stopped", lambda entry: None)
    for result in (ended, whole):
        result.pop("shared", None)  # names the run directory
    assert ended == whole
    models = [runs.load_model(str(folder / name))[0] for name in ("whole", "stopped")]
    weights = [model.get_weights() for model in models]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
