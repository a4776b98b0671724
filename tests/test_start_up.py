"""The line of the log that tells what a stage did before its first step."""

import pytest
import tensorflow as tf

from avl_tf.training import start_up
from avl_tf.training.start_up import StartUp


@pytest.fixture
def now(monkeypatch):
    """A clock that is moved by hand, in a process of 3 s."""
    at = [100.0]
    monkeypatch.setattr(start_up.time, "monotonic", lambda: at[0])
    monkeypatch.setattr(start_up, "_age_s", lambda: 3.0)
    monkeypatch.setattr(StartUp, "_is_first", True)
    return at


def test_the_first_step_tells_where_the_time_went_once(now, caplog):
    caplog.set_level("INFO", logger="absl")

    def take_step(batch, logged):
        now[0] += 8
        return {"loss": tf.constant(float(batch))}

    clock = StartUp()
    now[0] += 0.5
    clock.mark("records")
    step = clock.watched(take_step, "runs/a")
    now[0] += 0.25
    assert [float(step(i, True)["loss"]) for i in range(3)] == [0, 1, 2]
    assert caplog.messages == [
        "runs/a: first step after 11.8 s: import 3.0, records 0.5, first batch 0.2, "
        "tracing 8.0"
    ]
    # Another stage of the same process imports nothing.
    later = StartUp()
    now[0] += 1
    later.mark("records")
    assert later.told() == "first step after 1.0 s: records 1.0"


def test_the_age_of_a_process_is_in_seconds():
    age_s = start_up._age_s()
    assert 0 < age_s < 24 * 3600
