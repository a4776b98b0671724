"""avl_tf.app as it is started: what it prints, and how it fails and ends."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys

import httpx
import pytest
from programs import environment, fails_in_one_line, run_afresh
from served import engine, made, query

from avl_tf.errors import UserError
from avl_tf.server import decoding, opening, running

__all__ = ["engine", "made", "query"]  # fixtures


@contextlib.contextmanager
def _started(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "avl_tf.app", *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = [str(folder / name) for name in ("cert.pem", "key.pem")]
    asked = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", *asked.split(), *names, "-out", paths[0], "-keyout", paths[1]]
    subprocess.run(command, check=True, capture_output=True)
    return paths


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
def test_it_serves_https_on_all_addresses_and_ends_when_told(made, query, certificate):
    cert, key = certificate
    tls = [f"--tls_cert={cert}", f"--tls_key={key}"]
    index = f"--index_dir=ro={made[0]},again={made[0]}"
    with _started(index, "--host=0.0.0.0", "--port=0", *tls) as process:
        address = process.stdout.readline().strip()
        found = re.fullmatch(r"https://0\.0\.0\.0:(\d+)", address)
        context = ssl.create_default_context(cafile=cert)
        here = f"https://127.0.0.1:{found[1]}"
        with httpx.Client(base_url=here, verify=context) as client:
            about = client.get("/about").json()
            assert [one["name"] for one in about["indexes"]] == ["ro", "again"]
            posted = client.post("/v1/search?index=again", content=query.read_bytes())
            assert posted.json()[0]["media"] == made[2][1]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert "who reaches it can search" in said and "microphone" not in said
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--index_dir=none"], ["none: no index here"]),
        (["--index_dir=a=none,b=none"], ["none: no index here"]),
        (["--index_dir=a=x,x"], ["NAME=FOLDER"]),
        (["--index_dir=a,b"], ["a,b: no such directory", "NAME=DIR each"]),
        (["--index_dir=a/b=x,c=y"], ["'a/b' has no place in an address"]),
        (["--index_dir={index}", "--model=b=x,c=y"], ["no index is called 'b'"]),
        (["--index_dir={index}", "--tls_cert=x"], ["--tls_key", "go together"]),
        (
            ["--index_dir={index}", "--tls_cert=x", "--tls_key=y"],
            ["--tls_cert=x: no such file"],
        ),
        (
            ["--index_dir={index}", "--tls_cert={here}", "--tls_key={here}"],
            ["not a certificate and its key"],
        ),
        (["--index_dir={index}", "--port={taken}"], ["in use", "another --port"]),
        (["--index_dir={index}", "--host=no.such.host.invalid"], ["--host=no.such"]),
    ],
)
def test_what_cannot_be_served_is_told_at_once(made, arguments, texts):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        values = {"index": made[0], "taken": other.getsockname()[1], "here": __file__}
        given = [argument.format(**values) for argument in arguments]
        fails_in_one_line(run_afresh("avl_tf.app", *given), *texts)


def test_of_several_indexes_each_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    for items in (["data/nope", "ro=runs/x"], ["runs/x", "runs"]):
        with pytest.raises(UserError, match="several indexes are NAME=DIR each"):
            running.indexes_of(items)


def test_what_is_not_calibrated_is_logged_at_the_start(made, caplog):
    opening.served({"ro": made[0]}, {})
    assert f"ro: not calibrated: `python -m avl_tf.index --index_dir={made[0]}" in (
        caplog.text
    )


def test_names_of_indexes(tmp_path):
    assert running.indexes_of(["some/ro"]) == {"ro": "some/ro"}
    assert running.indexes_of(["a b/c d"]) == {"c_d": "a b/c d"}
    assert running.indexes_of(["es=a", "ro=b"]) == {"es": "a", "ro": "b"}
    (tmp_path / "x=y,z").mkdir()
    assert running.indexes_of([f"{tmp_path}/x=y", "z"]) == {
        "x_y_z": f"{tmp_path}/x=y,z"
    }


def test_no_process_of_a_decoder_stays(made, tmp_path):
    job = decoding.Job(made[2][0], str(tmp_path / "out"), "audio")
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        decoding.run(job)
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 4
