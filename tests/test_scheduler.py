"""Extraction on a dask cluster that is there already: two workers on loopback."""

import pathlib
import re
import signal
import subprocess
import time

import numpy as np
import pytest
from programs import fails_in_one_line, run, started

from avl_tf import media
from avl_tf.manifest import read_manifest, write_manifest
from avl_tf.records import shard_name
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.spreading import processes
from data_prep.shard_tasks import ShardTask
from data_prep.workers import Workers

N_RECORDINGS = 8


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (N_RECORDINGS, 1, 1, 3), np.uint8)
    for i, colour in enumerate(colours):
        frames = [np.broadcast_to(colour, (64, 80, 3)).copy()] * 12
        waveform = random.uniform(-0.3, 0.3, 48000).astype(np.float32)
        media.write_video(folder / f"{i}.mp4", frames, 4, waveform, 16000)
    lines = [{"id": str(i), "media": f"{i}.mp4"} for i in range(N_RECORDINGS)]
    write_manifest(str(folder / "manifest.jsonl"), lines)
    return folder / "manifest.jsonl"


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler's process and its address."""
    arguments = ["--host=127.0.0.1", "--port=0", "--no-dashboard"]
    module = "distributed.cli.dask_scheduler"
    with started(module, *arguments, cwd=tmp_path) as process:
        for line in process.stderr:
            if found := re.search(r"tcp://127\.0\.0\.1:\d+", line):
                yield process, found.group()
                return
        pytest.fail("the scheduler did not start")


def start_worker(address, cwd, nanny="--no-nanny"):
    # Without a nanny nothing starts it again; in a folder that is not the program's.
    options = [
        "--nthreads=1",
        nanny,
        "--no-dashboard",
        f"--local-directory={cwd}",
    ]
    return started("distributed.cli.dask_worker", address, *options, cwd=cwd)


def arguments(manifest, out_dir, *more):
    flags = ["--backbone_2d=efficientnet_lite0", "--recordings_per_shard=1"]
    return [f"--manifest={manifest}", f"--out_dir={out_dir}", *flags, *more]


def shards(folder):
    return {p.name: p.read_bytes() for p in pathlib.Path(folder).glob("*.tfrecord")}


def wait_for_a_shard(program, folder):
    while not shards(folder):
        assert program.poll() is None, program.communicate()[1]
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_worker_of_a_cluster_costs_only_its_task(
    manifest, scheduler, tmp_path
):
    local = run("data_prep.extract", *arguments(manifest, tmp_path / "local"))
    assert local.returncode == 0, local.stderr
    expected = shards(tmp_path / "local")
    assert len(expected) == N_RECORDINGS

    _, address = scheduler
    out_dir = tmp_path / "cluster"
    more = arguments(manifest, out_dir, f"--scheduler={address}")
    with (
        start_worker(address, tmp_path) as first,
        start_worker(address, tmp_path),
        started("data_prep.extract", *more) as program,
    ):
        wait_for_a_shard(program, out_dir)
        first.send_signal(signal.SIGKILL)
        _, errors = program.communicate(timeout=300)
    assert program.returncode == 0, errors
    assert "Traceback" not in errors
    assert shards(out_dir) == expected
    assert (out_dir / "spec.json").read_bytes() == (
        tmp_path / "local" / "spec.json"
    ).read_bytes()
    # What was begun on a cluster is a local job as well.
    again = run("data_prep.extract", *arguments(manifest, out_dir))
    assert again.returncode == 0 and "shards to make" not in again.stderr


def make_in_process(manifest, folder, address):
    """The shards that a cluster makes, by a call, so that patience can be set."""
    config = ExtractionConfig("efficientnet_lite0", "", "", "")
    tasks = [
        ShardTask(str(folder), shard_name("all", i, N_RECORDINGS), (recording,), config)
        for i, recording in enumerate(read_manifest(str(manifest)))
    ]
    with Workers(1, scheduler=address) as pool:
        for result in pool.make_shards(tasks):
            yield result.name


@pytest.mark.slow
def test_a_killed_nanny_is_told_if_no_worker_is_left(
    manifest, scheduler, tmp_path, monkeypatch
):
    _, address = scheduler
    with start_worker(address, tmp_path, "--nanny") as nanny:
        made = make_in_process(manifest, tmp_path / "out", address)
        next(made)
        monkeypatch.setattr(processes, "_PATIENCE_S", 4.0)
        nanny.send_signal(signal.SIGKILL)
        with pytest.raises(ConnectionError, match=f"{address} has had no worker for"):
            list(made)
    kept = shards(tmp_path / "out")
    assert 1 <= len(kept) < N_RECORDINGS

    # It goes on with a worker that comes in time, even if another is lost meanwhile.
    monkeypatch.undo()
    made = make_in_process(manifest, tmp_path / "out", address)
    with start_worker(address, tmp_path, "--nanny") as nanny:
        next(made)
        nanny.send_signal(signal.SIGKILL)
        with start_worker(address, tmp_path):
            assert len(list(made)) == N_RECORDINGS - 1
    found = shards(tmp_path / "out")
    assert len(found) == N_RECORDINGS
    assert all(found[name] == kept[name] for name in kept)


@pytest.mark.slow
def test_a_scheduler_that_dies_is_told_in_one_line(manifest, scheduler, tmp_path):
    process, address = scheduler
    more = arguments(manifest, tmp_path / "out", f"--scheduler={address}")
    with (
        start_worker(address, tmp_path),
        started("data_prep.extract", *more) as program,
    ):
        wait_for_a_shard(program, tmp_path / "out")
        process.kill()
        _, errors = program.communicate(timeout=120)
    done = subprocess.CompletedProcess([], program.returncode, "", errors)
    fails_in_one_line(done, address, "is gone", "what is finished is kept")
    assert not (tmp_path / "out" / "spec.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "http://x:1"])
def test_a_scheduler_that_is_not_there_is_told_in_one_line(manifest, tmp_path, address):
    more = arguments(manifest, tmp_path / "out", f"--scheduler={address}")
    done = run("data_prep.extract", *more)
    fails_in_one_line(done, f"--scheduler={address}", "dask scheduler")
    assert not (tmp_path / "out").exists()
