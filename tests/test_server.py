"""The server's routes: what it answers, and what it refuses, in one line each."""

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
from programs import environment
from served import COLOURS, RATE, engine, made, make_app, query, running, sound
from starlette.testclient import TestClient

from avl_tf import media, trained
from avl_tf.errors import MediaError
from avl_tf.server import decoding
from avl_tf.server.measurements import Measurements
from avl_tf.server.site import Served, kind_of
from benchmarks import hostile

__all__ = ["engine", "made", "query"]  # fixtures
PARTS = ("start=0.0&end=3.0", "start=3.0&end=6.0")
BASE = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def client(engine, made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    made_app = make_app(engine, made[1], folder, max_upload_mb=2, max_seconds=20)
    with TestClient(made_app, BASE, raise_server_exceptions=False) as client:
        client.folder = folder
        yield client
    left = [name for name in os.listdir(folder) if not name.endswith(".jpg")]
    assert not left, "uploads stay on the disk"


def _refused(response, status, text=""):
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    line = response.json()["error"]
    assert text in line and "\n" not in line and "Traceback" not in line, line


def test_a_recording_finds_its_clip(client, query, made):
    content = query.read_bytes()
    hits = client.post("/v1/search?n=3", content=content).json()
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    first = hits[0]
    assert (first["media"], first["start_s"], first["end_s"]) == (made[2][1], 3.0, 6.0)
    assert first["recording_id"] == "b.mp4" and first["score"] > 0.5
    form = client.post("/v1/search?n=3", files={"audio": ("../../x.wav", content)})
    assert form.json() == hits
    found = client.post("/search?index=second", content=content).json()
    assert found["hits"][0]["name"] == "b.mp4" and found["by"] == "audio"
    assert found["seconds"] == 4.0 and len(found["peaks"]) == decoding.N_PEAKS
    assert found["heard_s"] == 2.0, "the model hears its first clip_s"
    assert made[2][1] not in json.dumps(found), "the page is told a path"
    # How to calibrate is for who started the server.
    assert found["calibrated"] == "the index is not calibrated."
    listed = client.post("/v1/search", content=content)
    assert listed.headers["x-avl-calibration"] == found["calibrated"]
    (first, *_) = listed.json()
    assert first["reason"] == found["calibrated"] and first["threshold"] is None


def test_a_video_a_picture_and_a_window_search_too(client, made, tmp_path):
    with open(made[2][0], "rb") as file:
        content = file.read()
    assert client.post("/search", content=content).json()["by"] == "video"
    heard = client.post("/search?by=audio&output=audio", content=content).json()
    assert heard["by"] == "audio" and heard["seconds"] == pytest.approx(6.0, abs=0.1)
    media.write_image(tmp_path / "a.png", np.full((50, 60, 3), 90, np.uint8))
    picture = (tmp_path / "a.png").read_bytes()
    assert client.post("/search", content=picture).json()["by"] == "image"
    found = client.post("/search?window=3").json()
    assert found["by"] == "window" and found["hits"]
    assert 3 not in [hit["window_id"] for hit in found["hits"]]
    _refused(client.post("/search?window=99"), 404, "no window 99")


def test_what_is_decoded_is_what_the_model_reads_of_the_file(made, engine, tmp_path):
    served = Served("x", engine, made[1])
    out = str(tmp_path / "out.npy")
    for by in ("audio", "video"):
        job = decoding.Job(made[2][1], out, by, RATE, served._view.fps, 224)
        decoded = decoding.run(job)
        source = decoding.load(out), decoded.rate
        embed = getattr(trained.load(made[1]), f"embed_{by}")
        expected = embed(made[2][1])
        assert np.abs(embed(source) - expected).max() < 1e-5 * np.abs(expected).max()
        assert not os.path.exists(out)


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/search?index=none", 404, "there are first, second"),
        ("/search?by=smell", 400, "expected one of auto, audio"),
        ("/search?n=0", 400, "from 1 to 100"),
        ("/search?n=1e3", 400, "from 1 to 100"),
        ("/search?n=\u0663", 400, "from 1 to 100"),
        ("/search?topk=3", 400, "unknown option 'topk'"),
        ("/search?by=window", 400, "go together"),
        ("/search?language=../../x", 400, "expected a tag"),
        ("/search", 400, "an empty upload"),
        ("/v1/models/first:classify", 405, ""),
        ("/about", 405, "use GET or HEAD"),
    ],
)
def test_a_slip_in_a_request_is_told(client, address, status, text):
    _refused(client.post(address), status, text)


def test_who_gets_what_is_posted_is_told(client):
    _refused(client.get("/v1/search"), 405, "use POST")


HOSTILE = {
    "text": (b"speak, friend\n" * 50, "Send a sound, a video or a picture."),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "cannot be opened"),
    "concat": (b"ffconcat version 1.0\nfile /etc/passwd\n", "a playlist"),
    "dash": (b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'/>", ""),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/>", ""),
    "zeros": (bytes(100_000), ""),
    "bomb": (hostile.png(30_000), "pixels"),
    "no samples": (hostile.wav(0), "nothing in its audio"),
    "too long": (hostile.wav(30 * RATE), "--max_seconds"),
    "slow and long": (hostile.wav(900_000, rate=4000), "--max_seconds"),
    "silent": (hostile.wav(0, RATE) + bytes(2 * RATE), "nothing but zeros"),
    "zip": (b"PK\x03\x04" + bytes(200), ""),
    "html": (b"<!DOCTYPE html><script>alert(1)</script>", ""),
    "pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", ""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_upload_is_refused_in_one_line(client, kind):
    content, text = HOSTILE[kind]
    response = client.post("/v1/search", content=content)
    _refused(response, 422, text)
    assert str(client.folder) not in response.text and "passwd" not in response.text


def test_a_truncated_video_is_refused(client, made):
    with open(made[2][0], "rb") as file:
        content = file.read()
    for share in (0.3, 0.6):
        cut = content[: round(share * len(content))]
        _refused(client.post("/v1/search", content=cut), 422)


def test_an_upload_is_bounded_while_it_comes(client, engine, made, tmp_path):
    kept = []

    def endless():
        for _ in range(40):
            kept.append(_n_bytes(tmp_path))
            yield bytes(1_000_000)

    _refused(client.post("/v1/search", content=bytes(2_000_001)), 413, "2,000,000")
    response = client.post("/v1/search", files={"audio": bytes(2_000_001)})
    _refused(response, 413, "2,000,000")
    # Over a connection, for the client of tests sends a body as a whole.
    with running(make_app(engine, made[1], tmp_path, max_upload_mb=2)) as address:
        _refused(httpx.post(f"{address}/v1/search", content=endless()), 413)
    assert len(kept) == 40 and max(kept) <= 2_000_000


def _n_bytes(folder):
    """What the files of a folder hold, some of which go meanwhile."""
    found = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def test_a_form_without_one_file_is_refused(client):
    for kind, content in (
        ("multipart/form-data; boundary=x", b"y"),
        ("multipart/form-data", b"y"),
        ("multipart/form-data; boundary=x", b""),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
        ),
    ):
        headers = {"content-type": kind}
        _refused(
            client.post("/v1/search", content=content, headers=headers), 400, "form"
        )
    two = [("a", ("a", b"1")), ("b", ("b", b"2"))]
    _refused(client.post("/v1/search", files=two), 400, "form")


def test_decoding_has_a_time_and_a_memory_limit(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(hostile.wav(RATE))
    job = decoding.Job(str(path), str(tmp_path / "b"), "audio")
    with pytest.raises(MediaError, match="takes more than 1e-05 s"):
        decoding.run(job, 1e-5)
    # What it asks for is refused by the kernel, not by a check of ours.
    code = (
        "from avl_tf.server import decoding; decoding._bound(); import numpy as np\n"
        "try: np.ones(3_000_000_000, np.uint8)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stdout == "refused\n", done.stderr


def test_media_come_by_id_alone_and_in_ranges(client, made):
    with open(made[2][0], "rb") as file:
        content = file.read()
    (address, other) = (f"/media/first/{number}" for number in (1, 2))
    whole = client.get(address)
    assert whole.content == content and whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes"
    size = len(content)
    for asked, part in [
        ("bytes=0-99", content[:100]),
        ("bytes=100-", content[100:]),
        ("bytes=-50", content[-50:]),
        (f"bytes=10-{size + 999}", content[10:]),
        ("bytes=" + "0" * 30 + "7-8", content[7:9]),
    ]:
        found = client.get(address, headers={"Range": asked})
        assert (found.status_code, found.content) == (206, part), asked
        assert found.headers["content-range"].endswith(f"/{size}")
    for asked in (f"bytes={size}-", f"bytes={10**30}-", "bytes=-0"):
        found = client.get(address, headers={"Range": asked})
        assert found.status_code == 416, asked
        assert found.headers["content-range"] == f"bytes */{size}"
    several = client.get(address, headers={"Range": "bytes=0-1,4-5"})
    assert (several.status_code, several.content) == (200, content)
    told = whole.headers["etag"]
    same = client.get(address, headers={"Range": "bytes=0-1", "If-Range": told})
    assert same.status_code == 206
    changed = client.get(other, headers={"Range": "bytes=0-1", "If-Range": told})
    assert changed.status_code == 200
    for path in ("none/1", "first/9", "first/-1", "first/1e1", f"first/{10**30}"):
        _refused(client.get(f"/media/{path}"), 404)
    for path in ("..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "../../etc/passwd"):
        assert client.get(f"/media/first/{path}").status_code == 404
        assert client.get(f"/{path}").status_code == 404


def test_a_key_frame_and_a_waveform_come_with_a_window(client, tmp_path):
    for window, colour in enumerate(COLOURS):
        found = client.get(f"/preview/first/{window // 2 + 1}.jpg?{PARTS[window % 2]}")
        assert found.headers["content-type"] == "image/jpeg"
        (tmp_path / "a.jpg").write_bytes(found.content)
        seen = media.read_image(tmp_path / "a.jpg")[..., :3]
        assert np.abs(seen.mean((0, 1)) - colour).max() < 12
    peaks = client.get(f"/preview/first/1.json?{PARTS[0]}").json()["peaks"]
    assert len(peaks) == decoding.N_PEAKS and max(peaks) == 1.0
    _refused(client.get(f"/preview/first/99.jpg?{PARTS[0]}"), 404)
    for part in ("", "start=1", "start=2&end=1", "start=nan&end=1", "start=-1&end=1"):
        _refused(client.get(f"/preview/first/1.jpg?{part}"), 400, "?start=SECONDS")
    # Of a span that is not in the file nothing is seen.
    _refused(client.get("/preview/first/1.jpg?start=90&end=99"), 404)


def test_a_file_that_is_gone_is_told(engine, made, query, tmp_path):
    path = made[2][1]
    os.rename(path, f"{path}.moved")
    try:
        with TestClient(make_app(engine, made[1], tmp_path), BASE) as client:
            found = client.post("/search", content=query.read_bytes()).json()["hits"][0]
            assert "deleted or moved" in found["missing"]
            assert os.path.dirname(path) not in found["missing"]
            for address in ("/media/first/2", "/preview/first/2.jpg?start=3&end=6"):
                _refused(client.get(address), 410, "deleted or moved")
    finally:
        os.rename(f"{path}.moved", path)


def test_only_our_own_pages_may_ask(client):
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""):
        _refused(client.get("/about", headers={"Host": host}), 421)
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST."):
        assert client.get("/about", headers={"Host": host}).status_code == 200
    for origin in ("http://evil.example", "null", "https://127.0.0.1:8080"):
        response = client.post("/search?window=0", headers={"Origin": origin})
        _refused(response, 403, "a page of elsewhere")
    response = client.post("/search?window=0", headers={"Sec-Fetch-Site": "cross-site"})
    _refused(response, 403)
    response = client.post("/search?window=0", headers={"Origin": BASE})
    assert response.status_code == 200


def test_every_answer_carries_the_headers_that_bound_a_page(client):
    for address in ("/", "/app.js", "/media/first/1", "/none", "/about"):
        headers = client.get(address).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_needs_nothing_from_elsewhere(client):
    text = client.get("/").text
    named = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert set(named) == {"style.css", "app.js", "icon.svg"}
    for name in (*named, "recorder.js"):
        found = client.get(f"/{name}")
        assert found.status_code == 200
        text += found.text
    for foreign in re.findall(r"\w+://[\w./]*", text):
        assert foreign == "http://www.w3.org/2000/svg"
    assert not re.search(r"@import|url\(|style=|\son\w+=", text)


def test_a_full_queue_is_told_with_when_to_come_again(engine, made, query, tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def __getattr__(self, name):
            return getattr(engine, name)

        def search(self, *args, **kwargs):
            begun.set()
            go_on.wait(20)
            return engine.search(*args, **kwargs)

    made_app = make_app(Slow(), made[1], tmp_path, queue=2)
    with TestClient(made_app, BASE) as client:
        statuses = []

        def ask():
            found = client.post("/v1/search", content=query.read_bytes())
            statuses.append(found.status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        begun.wait(20)
        deadline = time.monotonic() + 20
        while "queue_length 2.0" not in client.get("/metrics").text:
            assert time.monotonic() < deadline
        refused = client.post("/v1/search", content=b"x")
        _refused(refused, 503, "2 searches are at work or wait")
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/healthz").json() == {"status": "ok"}
        go_on.set()
        for thread in threads:
            thread.join()
        assert statuses == [200, 200]
        assert 'requests_total{route="search",status="503"} 1' in (
            client.get("/metrics").text
        )


def test_metrics_are_prometheus_text():
    measured = Measurements()
    for seconds in (0.001, 0.3, 99.0):
        measured.add("search", 200, seconds)
    lines = measured.text({"x": ("What.", {'a="b"': 2})}).splitlines()
    sample = re.compile(r"\w+(\{\w+=\"[\w.+]*\"(,\w+=\"[\w.+]*\")*\})? [\d.e+-]+")
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert 'avl_tf_request_seconds_bucket{route="search",le="0.005"} 1' in lines
    assert 'avl_tf_request_seconds_bucket{route="search",le="0.5"} 2' in lines
    assert 'avl_tf_request_seconds_bucket{route="search",le="+Inf"} 3' in lines
    assert 'avl_tf_request_seconds_count{route="search"} 3' in lines
    assert 'avl_tf_x{a="b"} 2' in lines


def test_kinds_of_files():
    assert kind_of("a.MKV") == "video/x-matroska" and kind_of("a.wav") == "audio/x-wav"
    assert kind_of("a.svg") == kind_of("a.html") == "application/octet-stream"


def _b64(content):
    return {"b64": base64.b64encode(content).decode()}


def test_a_client_of_tensorflow_serving_is_answered(client, query, engine):
    content = query.read_bytes()
    expected = engine.embedder.embed_audio((sound(3, 2.0), RATE))[0]
    address = "/v1/models/first:predict"
    body = {"instances": [_b64(content), {"wav_bytes": _b64(b"none")}]}
    first, second = client.post(address, json=body).json()["predictions"]
    assert first["valid"] and first["reason"] == "" and not second["valid"]
    assert len(first["audio_embedding"]) == len(expected) and second["reason"]
    columns = client.post(address, json={"inputs": {"wav_bytes": [_b64(content)]}})
    outputs = columns.json()["outputs"]
    np.testing.assert_allclose(
        outputs["audio_embedding"][0], first["audio_embedding"], rtol=1e-4, atol=1e-4
    )
    visual = {"signature_name": "visual", "instances": [[0.1] * 1280, [1] * 1280]}
    versioned = "/v1/models/first/versions/1:predict"
    found = client.post(versioned, json=visual).json()["predictions"]
    assert [one["valid"] for one in found] == [True, True]
    status = client.get("/v1/models/first").json()["model_version_status"]
    assert status[0]["state"] == "AVAILABLE" and status[0]["version"] == "1"
    told = client.get("/v1/models/first/metadata").json()
    signatures = told["metadata"]["signature_def"]["signature_def"]
    assert signatures["wav_bytes"]["inputs"]["wav_bytes"]["dtype"] == "DT_STRING"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "either 'instances' or 'inputs'"),
        (b'{"instances": [1], "inputs": [1]}', "either"),
        (b'{"instances": []}', "one item or more"),
        (b'{"instances": [7]}', "no text"),
        (b'{"instances": [{"b64": "!"}]}', "cannot be made of this"),
        (b'{"instances": [{"wav": "a"}]}', "expected the inputs wav_bytes"),
        (b'{"instances": ["a"], "signature_name": "x"}', "'x' not found in signature"),
        (b'{"instances": ["a"], "signature_name": [3]}', "not found in signature"),
        (b'{"inputs": [[0, 1]], "signature_name": "visual"}', "got [1, 2]"),
        (b'{"inputs": [[0], [1, 2]], "signature_name": "visual"}', "cannot be made"),
        (b'{"inputs": [["a"]], "signature_name": "visual"}', "cannot be made"),
        (
            b'{"inputs": {"waveform": [[0.1], [0.1]], "n_samples": [1]}, '
            b'"signature_name": "waveform"}',
            "n_samples and waveform hold unlike numbers of items",
        ),
        (b'{"inputs": [[NaN]], "signature_name": "visual"}', "finite"),
    ],
)
def test_a_wrong_prediction_is_told(client, body, text):
    response = client.post("/v1/models/first:predict", content=body)
    _refused(response, 400, text)
    assert "execution" not in response.text and "strided" not in response.text


def test_a_model_that_is_not_there_is_told(client, engine, tmp_path):
    body = {"instances": ["a"]}
    for name in ("none", "none/versions/1", "first/versions/7"):
        _refused(client.post(f"/v1/models/{name}:predict", json=body), 404, "Servable")
        _refused(client.get(f"/v1/models/{name}"), 404, "Servable not found")
    with TestClient(make_app(engine, str(tmp_path), tmp_path), BASE) as other:
        response = other.post("/v1/models/first:predict", json=body)
        _refused(response, 404, "no export: run avl_tf.export")
