"""How far something long is, where there is no terminal."""

import time

from avl_tf import progress


def test_a_line_of_the_log_tells_how_far_it_is(monkeypatch, caplog):
    monkeypatch.setattr(progress, "_EVERY_S", 0.05)
    caplog.set_level("INFO", logger="absl")

    def until(text):
        give_up = time.monotonic() + 20
        while text not in caplog.text and time.monotonic() < give_up:
            time.sleep(0.01)

    # Also before the first of them is done.
    with progress.Bar(total=5, unit="recording", initial=2) as bar:
        until("2 of 5 recordings")
        bar.update(2)
        until("4 of 5 recordings, about 0 s left")
    for one in progress.Bar(range(3), "looking"):
        until(f"looking: {one} of 3 files")
    listed = [record.getMessage() for record in caplog.records]
    for text in ("2 of 5 recordings", "looking: 0 of 3 files"):
        assert text in listed
    assert any(text.startswith("4 of 5 recordings, about ") for text in listed)
    assert any(text.startswith("looking: 2 of 3 files, about ") for text in listed)
    n = len(caplog.records)
    time.sleep(0.2)
    assert len(caplog.records) == n
