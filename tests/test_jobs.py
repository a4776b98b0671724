"""A folder of shards is gone on with by the same job only, of whatever version."""

import dataclasses
import hashlib
import json

import pytest

from avl_tf.audio import AudioConfig
from avl_tf.manifest import Recording
from avl_tf.media import Limits
from avl_tf.records import FeatureSpec, RecordsSpec
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import jobs
from data_prep.jobs import Job
from data_prep.shard_tasks import ShardTask

FIELDS = [("mode", str, "a"), ("audio", AudioConfig, AudioConfig())]
RECORDING = Recording(
    "r", "r.mp4", "r.png", "sw", "train", "s", 1.5, None, ({"start_s": 0},), {"b": [1]}
)
SPEC = RecordsSpec(
    AudioConfig(), "clip", FeatureSpec("x", 3, 0.0), None, ("en", "sw"), False, {}
)


def _config(*more, **values):
    """A configuration of a version that has these fields more."""
    return dataclasses.make_dataclass("C", [*FIELDS, *more], frozen=True)(**values)


def _claim(folder, config, recordings=("r",), seed=0):
    content = jobs.digest([list(recordings), seed])
    return jobs.claim(
        str(folder),
        Job(config, content, {"seed": seed}, lambda: "of 0.1.0"),
        lambda: {"n": seed},
    )


def test_a_new_setting_at_its_default_lets_a_job_go_on(tmp_path):
    assert _claim(tmp_path, _config(), seed=3) == {"n": 3}
    later = ("late", int, 5)
    assert _claim(tmp_path, _config(later), seed=3) == {"n": 3}
    with pytest.raises(ValueError, match=r"\(late was 5, now 6\)"):
        _claim(tmp_path, _config(later, late=6), seed=3)


@pytest.mark.parametrize(
    ("config", "recordings", "seed", "named"),
    [
        (_config(mode="b"), ("r",), 0, "mode was a, now b"),
        (
            _config(audio=AudioConfig(n_mels=64)),
            ("r",),
            0,
            "audio.n_mels was 40, now 64",
        ),
        (_config(), ("r",), 1, "seed was 0, now 1"),
        (_config(), ("r", "q"), 0, "the recordings were others"),
    ],
)
def test_another_job_is_refused_and_what_differs_is_named(
    tmp_path, config, recordings, seed, named
):
    _claim(tmp_path, _config())
    before = (tmp_path / "progress" / "job.json").read_bytes()
    with pytest.raises(ValueError) as error:
        _claim(tmp_path, config, recordings, seed)
    assert f"was begun with other input or other settings ({named})." in str(
        error.value
    )
    assert (tmp_path / "progress" / "job.json").read_bytes() == before


def test_a_seed_that_deals_the_same_is_no_other_job(tmp_path):
    job = Job(_config(), jobs.digest(["r"]), {"seed": 0}, str)
    jobs.claim(str(tmp_path), job)
    jobs.claim(str(tmp_path), dataclasses.replace(job, dealing={"seed": 1}))


def test_a_folder_that_version_0_1_0_began_is_gone_on_with(tmp_path):
    fingerprint = hashlib.sha256(b"of 0.1.0").hexdigest()[:16]
    path = tmp_path / "progress" / "job.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"fingerprint": fingerprint, "about": {"n": 9}}))
    assert _claim(tmp_path, _config()) == {"n": 9}
    path.write_text(json.dumps({"fingerprint": "0" * 16, "about": {"n": 9}}))
    with pytest.raises(ValueError, match="an earlier version did not note which"):
        _claim(tmp_path, _config())


def test_jobs_are_described_as_by_version_0_1_0():
    """Noted there: as long as no field has come since, it is the repr of today."""
    config = ExtractionConfig("efficientnet_lite0", "", "", "/w.pth", "int8", True)
    tasks = [ShardTask("f", "train-0", (RECORDING, Recording("q", "q")), config)]
    found = jobs._description_0_1_0(tasks, config)
    assert found == ("dc3e2213f629c9fba5ae34ca7a39fc356e35c483360b8bb854c30f66913648b8")
    text = jobs.repr_0_1_0(SPEC)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "87ad5144a346c57e"


def test_larger_limits_go_on_with_the_same_job(tmp_path):
    tasks = [ShardTask("f", "train-0", (RECORDING,), ExtractionConfig())]
    for limits in (Limits(), Limits(200), Limits(50, 4)):
        job = jobs.extraction(tasks, ExtractionConfig(limits=limits), 0, 16)
        assert jobs.claim(str(tmp_path), job, lambda: {"n": 1}) == {"n": 1}


def test_a_field_that_came_after_0_1_0_is_seen_if_it_is_not_its_default():
    later = dataclasses.make_dataclass(
        "FeatureSpec", [("late", int, 5)], bases=(FeatureSpec,), frozen=True
    )
    assert jobs.repr_0_1_0(later("x", 3, 1.0)) == (
        "FeatureSpec(backbone='x', dim=3, rate_hz=1.0)"
    )
    assert "late=6" in jobs.repr_0_1_0(later("x", 3, 1.0, late=6))


def test_a_job_is_its_recordings_their_order_and_dealing_wherever_they_lie():
    def content(*recordings, name="train-0"):
        return jobs.digest(jobs._content([ShardTask("", name, recordings, None)]))

    other = Recording("q", "q.mp4")
    found = content(RECORDING, other)
    moved = dataclasses.replace(RECORDING, media="m/r.mp4", image="m/r.png")
    assert content(moved, other) == found
    for changed in (
        content(other, RECORDING),
        content(RECORDING, other, name="train-1"),
        content(dataclasses.replace(RECORDING, image=None), other),
        content(dataclasses.replace(RECORDING, labels={"b": [2]}), other),
        content(RECORDING),
    ):
        assert changed != found
    # Fields at their defaults, such as those that are to come, are left out.
    (_, line) = jobs._content([ShardTask("", "", (other,), None)])
    assert line == {"id": "q", "media": "", "labels": {}}
