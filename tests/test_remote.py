"""The real programs against an S3-compatible server, and how they fail without one."""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time

import corpus
import made_media
import pytest
import s3_server
import tensorflow as tf
from programs import environment, fails_in_one_line, run, started
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avl_tf import records
from avl_tf.manifest import read_manifest

BUCKET = "shelf"
# Room to be stopped in: each of the epochs is evaluated and saved.
EPOCHS = 20
STAGE = [
    "--audio_widths=8,8,16",
    "--embedding_dim=16",
    "--clip_s=2",
    "--clips_per_recording=8",
    "--batch_size=16",
    f"--epochs={EPOCHS}",
    "--evaluation_clip_s=2",
    f"--records=s3://{BUCKET}/records/train",
    f"--evaluate=xx=s3://{BUCKET}/records",
    f"--run_dir=s3://{BUCKET}/runs/one",
]


@pytest.fixture(scope="module")
def s3_loads():
    """Whether tensorflow-io's file systems load here."""
    script = """
import tensorflow_io
import tensorflow as tf
print("s3" in tf.io.gfile.get_registered_schemes())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    return done.stdout == b"True\n"


@pytest.fixture(scope="module")
def needs_s3(s3_loads):
    # With the first version, for which docs/remote.md says that it loads, it must.
    if not s3_loads and not tf.__version__.startswith("2.16."):
        pytest.skip(f"tensorflow-io does not load with TensorFlow {tf.__version__}")


@pytest.fixture(scope="module")
def s3(needs_s3):
    """The server; every program started meanwhile finds it."""
    with s3_server.serve(BUCKET) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    lines = []
    for i in range(4):
        pictures = [made_media.numbered(50 * i + second) for second in range(5)]
        sound = made_media.sine(5, hz=300 * (i + 1))
        made_media.make_media(folder / f"{i}.mp4", pictures, sound, fps=1)
        lines.append({"id": f"r{i}", "media": f"{i}.mp4", "split": "train"})
    (folder / "manifest.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    return folder / "manifest.jsonl"


def extract(manifest, out_dir):
    done = run(
        "data_prep.extract",
        f"--manifest={manifest}",
        f"--out_dir={out_dir}",
        "--backbone_2d=efficientnet_lite0",
        "--recordings_per_shard=2",
        "--workers=1",
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def extracted(s3, manifest):
    return extract(manifest, f"s3://{BUCKET}/records")


@pytest.fixture(scope="module")
def trained(s3, extracted):
    """A training that was killed after its first epochs, then run again."""
    second = "runs/one/checkpoints/ckpt-4.index"
    with started("avl_tf.train", *STAGE) as process:
        # Then that of the epoch before is whole, its entry in the list too.
        while second not in s3_server.list_keys(s3, BUCKET, second):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
    assert process.returncode < 0, "it was finished before it was killed"
    done = run("avl_tf.train", *STAGE)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_extraction_writes_the_same_as_to_a_local_folder(
    s3, manifest, extracted, tmp_path
):
    extract(manifest, tmp_path / "records")
    local = {
        str(path.relative_to(tmp_path / "records")): path.read_bytes()
        for path in (tmp_path / "records").rglob("*")
        if path.is_file()
    }
    assert s3_server.read_all(s3, BUCKET, "records/") == local
    assert sum(name.endswith(".tfrecord") for name in local) == 2


@pytest.mark.slow
def test_extraction_again_makes_what_is_missing(s3, manifest, extracted):
    before = s3_server.read_all(s3, BUCKET, "records/")
    gone = records.shard_name("train", 1, 2)
    s3_server.client(s3).delete_object(Bucket=BUCKET, Key=f"records/{gone}")
    done = extract(manifest, f"s3://{BUCKET}/records")
    assert "1 of 2 shards to make" in done.stderr
    assert s3_server.read_all(s3, BUCKET, "records/") == before


@pytest.mark.slow
def test_a_folder_grows(s3, manifest, extracted):
    lines = manifest.read_text().splitlines(keepends=True)
    fewer = manifest.with_name("fewer.jsonl")
    fewer.write_text("".join(lines[:2]))
    extract(fewer, f"s3://{BUCKET}/grown")
    done = extract(manifest, f"s3://{BUCKET}/grown")
    assert "kept 2, made 2, dropped 0, moved 0" in done.stdout

    def shards(folder):
        found = s3_server.read_all(s3, BUCKET, folder)
        return {k: v for k, v in found.items() if k.endswith(".tfrecord")}

    assert shards("grown/") == shards("records/")


@pytest.mark.slow
def test_killed_training_goes_on(s3, trained):
    assert "goes on, at step" in trained.stderr
    found = s3_server.read_all(s3, BUCKET, "runs/one/")
    assert {"run.json", "flags.txt", "recall.json"} < set(found)
    assert not [name for name in found if name.endswith(".tmp")]
    history = json.loads(found["recall.json"])["history"]
    assert [entry["epoch"] for entry in history] == list(range(EPOCHS + 1))
    indices = [name for name in found if name.endswith(".index")]
    steps = 2 * EPOCHS
    assert sorted(indices) == sorted(
        f"checkpoints/ckpt-{step}.index" for step in (steps - 2, steps)
    )


@pytest.mark.slow
def test_tensorboard_events_lie_in_the_run_directory(s3, trained, tmp_path):
    found = s3_server.read_all(s3, BUCKET, "runs/one/events")
    for name, content in found.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    events = EventAccumulator(str(tmp_path), {"tensors": 0}).Reload()
    steps = [event.step for event in events.Tensors("recall/xx/a2v/R@1")]
    # What the killed process had not sent yet is lost; the second one's is all there.
    assert steps[-1] == 2 * EPOCHS and len(steps) > 1


@pytest.mark.slow
def test_evaluate_and_export(s3, trained):
    by_run = run(
        "avl_tf.evaluate",
        f"--run_dir=s3://{BUCKET}/runs/one",
        f"--evaluate=xx=s3://{BUCKET}/records",
    )
    assert by_run.returncode == 0, by_run.stderr
    exported = run("avl_tf.export", f"--run_dir=s3://{BUCKET}/runs/one")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout.strip() == f"s3://{BUCKET}/runs/one/export/1"
    by_export = run(
        "avl_tf.evaluate",
        f"--export=s3://{BUCKET}/runs/one/export/1",
        f"--evaluate=xx=s3://{BUCKET}/records",
        f"--output=s3://{BUCKET}/by_export.json",
    )
    assert by_export.returncode == 0, by_export.stderr
    assert by_export.stdout == by_run.stdout
    found = s3_server.read_all(s3, BUCKET, "")
    assert not [key for key in found if key.endswith(".tmp")]
    last = json.loads(found["runs/one/recall.json"])["history"][-1]["sets"]["xx"]
    for name in ("runs/one/evaluation/recall.json", "by_export.json"):
        values = json.loads(found[name])["sets"]["xx"]
        assert {k: v for k, v in values.items() if k != "set"} == last


@contextlib.contextmanager
def everything_forbidden():
    """A server whose answer to everything is 403, as S3's to wrong keys."""

    class Forbidden(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forbidden) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield "http://{}:{}".format(*server.server_address)
        server.shutdown()


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told(s3, manifest, tmp_path):
    for module, *arguments in (
        (
            "data_prep.extract",
            f"--manifest={manifest}",
            "--out_dir=s3://nowhere/records",
            "--backbone_2d=efficientnet_lite0",
        ),
        ("avl_tf.train", "--records=s3://nowhere/records", f"--run_dir={tmp_path}/run"),
    ):
        done = run(module, *arguments)
        fails_in_one_line(done, "s3://nowhere/", "no such bucket")


@pytest.mark.slow
def test_a_server_that_denies_or_is_down_is_told(needs_s3, monkeypatch):
    with everything_forbidden() as endpoint:
        for name, value in s3_server.settings(endpoint).items():
            monkeypatch.setenv(name, value)
        done = run("avl_tf.export", f"--run_dir=s3://{BUCKET}/runs/one")
    fails_in_one_line(done, f"s3://{BUCKET}/", "access is denied")
    done = run("avl_tf.export", f"--run_dir=s3://{BUCKET}/runs/one")
    fails_in_one_line(done, f"s3://{BUCKET}/", "cannot be reached", "connect")


@pytest.mark.slow
def test_a_program_without_tensorflow_io_tells_so(tmp_path):
    # The program's own folder comes first on its path.
    (tmp_path / "tensorflow_io.py").write_text("raise ImportError('built for 2.16')")
    done = run("avl_tf.export", f"--run_dir=s3://{BUCKET}/run", cwd=tmp_path)
    fails_in_one_line(done, tf.__version__, "built for 2.16", "tensorflow 2.16")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["s3", "hdfs"])
def test_where_tensorflow_io_does_not_load_one_line_tells_what_to_do(
    s3_loads, manifest, tmp_path, scheme
):
    if s3_loads:
        pytest.skip(f"tensorflow-io loads with TensorFlow {tf.__version__}")
    train = f"--records={corpus.make_set(str(tmp_path / 'records'))}"
    there, run_dir = f"{scheme}://{BUCKET}/there", f"--run_dir={tmp_path}/run"
    for module, *arguments in (
        (
            "data_prep.extract",
            f"--manifest={manifest}",
            f"--out_dir={there}",
            "--backbone_2d=efficientnet_lite0",
        ),
        ("avl_tf.train", f"--records={there}", run_dir),
        ("avl_tf.train", train, f"--evaluate=xx={there}", run_dir),
        ("avl_tf.train", train, "--batch_size=16", f"--run_dir={there}"),
        ("avl_tf.evaluate", f"--run_dir={there}", f"--evaluate=xx={tmp_path}/records"),
        ("avl_tf.export", f"--run_dir={there}"),
    ):
        done = run(module, *arguments)
        fails_in_one_line(done, f"error: {scheme}://{BUCKET}/: ", tf.__version__)
        fails_in_one_line(done, "pip install 'tensorflow==2.16.*'", "local folder")
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_google_storage_out_of_reach_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    train = ["--batch_size=16", f"--records={corpus.make_set(str(tmp_path))}"]
    there = f"gs://{BUCKET}/there"
    # At once: it is tried for half a minute.
    with (
        started("avl_tf.train", f"--records={there}", "--run_dir=run") as first,
        started("avl_tf.train", *train, f"--run_dir={there}") as second,
    ):
        for process in (first, second):
            stderr = process.stderr.read()
            done = subprocess.CompletedProcess([], process.wait(), stderr=stderr)
            fails_in_one_line(done, f"gs://{BUCKET}/", "cannot be reached")


@pytest.mark.slow
def test_a_process_that_used_s3_ends_with_its_own_status(s3):
    script = f"""
import sys
from avl_tf import files
files.write_text("s3://{BUCKET}/first", "")
files.write_text("s3://{BUCKET}/first", "again")
files.write_text("s3://{BUCKET}/empty/one", "")
print("done")
sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (7, "done\n"), done.stderr
    assert s3_server.read_all(s3, BUCKET, "first") == {"": b"again"}
    assert s3_server.read_all(s3, BUCKET, "empty/") == {"one": b""}


def test_a_program_that_writes_media_wants_a_local_folder(tmp_path):
    done = run("data_prep.stamps", "--out_dir=s3://shelf/demo", cwd=tmp_path)
    fails_in_one_line(done, "s3://shelf/demo", "local")
    assert list(tmp_path.iterdir()) == []


def test_a_remote_manifest_is_not_looked_for_in_a_local_folder():
    with pytest.raises(ValueError, match="s3://shelf/a.jsonl: .* local"):
        read_manifest("s3://shelf/a.jsonl")
