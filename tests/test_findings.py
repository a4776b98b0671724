"""What a summary says of findings."""

from avl_tf.manifest.findings import Finding, summary


def test_every_reason_stands_by_its_own_files():
    found = [
        Finding("dead", "a.mp4", "/videos/a.mp4: an empty file", "/videos/a.mp4"),
        Finding("dead", "b.mp4", "/videos/b.mp4: no moov atom", "/videos/b.mp4"),
        Finding("hidden", ".x", "its name begins with a dot"),
        Finding("dead", "c.mp4", "/videos/c.mp4: an empty file", "/videos/c.mp4"),
    ]
    assert summary(found) == {
        "dead": "3 dead (a.mp4, c.mp4: an empty file; b.mp4: no moov atom)",
        "hidden": "1 hidden (.x: its name begins with a dot)",
    }


def test_many_are_named_by_the_first():
    found = [Finding("silent", f"{i}.mp4", "no sound") for i in range(5)]
    assert summary(found)["silent"] == "5 silent (0.mp4, 1.mp4, 2.mp4, ...: no sound)"
    found = [Finding("dead", f"{i}", f"reason {i}") for i in range(5)]
    assert summary(found)["dead"] == (
        "5 dead (0: reason 0; 1: reason 1; 2: reason 2; ...)"
    )
