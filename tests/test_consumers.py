"""What is not ours reads an export: TensorFlow's tools, C library and Serving."""

import concurrent.futures
import contextlib
import http.server
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import wave

import corpus
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import runs, serving, training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.server.prediction import Export
from avl_tf.server.refusals import Refusal
from avl_tf.serving import client, models_config
from avl_tf.settings.stage import StageConfig


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade") / "demo"
    records = corpus.make_set(str(folder.parent / "records"))
    stage = StageConfig(records=records, epochs=0, batch_size=8)
    config = ModelConfig((12,), audio_widths=(8, 8, 16), embedding_dim=16)
    run_dir = str(folder / "one")
    training.train_stage(run_dir, stage, ClipConfig(), EvaluationConfig(), config)
    return run_dir


@pytest.fixture(scope="module")
def export(run_dir):
    return serving.export(run_dir)


@pytest.fixture(scope="module")
def golden(export):
    return dict(np.load(os.path.join(export, "assets.extra", "golden.npz")))


def _assert_golden(found, expected):
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def _bare():
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


@pytest.mark.slow
def test_saved_model_cli_shows_and_runs_it(export, golden, tmp_path):
    code = "import sys; from tensorflow.python.tools.saved_model_cli import main; "
    command = [sys.executable, "-c", code + "sys.exit(main())"]

    def run(*arguments):
        done = subprocess.run(
            [*command, *arguments, "--dir", export, "--tag_set", "serve"],
            cwd=tmp_path,
            env=_bare(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = run("show")
    for name in ("waveform", "wav_bytes", "log_mel", "visual", "features"):
        assert f'SignatureDef key: "{name}"' in shown
    np.save(tmp_path / "visual.npy", golden["visual"])
    given = ["--inputs", "visual=visual.npy", "--outdir", "out"]
    run("run", "--signature_def", "visual", *given)
    found = np.load(tmp_path / "out" / "visual_embedding.npy")
    _assert_golden(found, golden["visual_embedding"])


def test_hub_loads_it(export, golden):
    hub = pytest.importorskip("tensorflow_hub")
    heard = {name: tf.constant(golden[name]) for name in ("log_mel", "n_frames")}
    found = hub.load(export).signatures["log_mel"](**heard)
    _assert_golden(found["audio_embedding"], golden["audio_embedding"])


_C = pathlib.Path(__file__).parent / "data" / "embed_golden.c"


@pytest.mark.slow
def test_tensorflows_c_library_runs_it(export, golden, tmp_path):
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    libraries, program = tf.sysconfig.get_lib(), str(tmp_path / "embed")
    linked = [f"{libraries}/libtensorflow_cc.so.2"]
    linked.append(f"{libraries}/libtensorflow_framework.so.2")
    command = [compiler, str(_C), "-o", program, f"-I{tf.sysconfig.get_include()}"]
    subprocess.run([*command, *linked, f"-Wl,-rpath,{libraries}"], check=True)
    golden["log_mel"].tofile(tmp_path / "log_mel")
    golden["n_frames"].tofile(tmp_path / "n_frames")
    graph = tf.compat.v1.saved_model.load
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        held = graph(session, ["serve"], export).signature_def["log_mel"]
    names = [
        held.inputs["log_mel"].name,
        held.inputs["n_frames"].name,
        held.outputs["audio_embedding"].name,
    ]
    _, n_frames, n_mels = golden["log_mel"].shape
    done = subprocess.run(
        ["env", "-i", program, export, *names, str(n_frames), str(n_mels)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = np.array(done.stdout.split(), np.float32)
    _assert_golden(found, golden["audio_embedding"][0])


def _wav(seed=0):
    samples = np.random.default_rng(seed).integers(-9000, 9000, 16000).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    return content.getvalue()


class _Rest(http.server.BaseHTTPRequestHandler):
    models: dict[str, Export] = {}

    def do_POST(self):
        name = self.path.removeprefix("/v1/models/").removesuffix(":predict")
        text = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if name not in self.models:
                raise Refusal(404, f"Servable not found for request: {name}")
            status, answer = 200, self.models[name].predict(text)
        except Refusal as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _rest(export):
    """TensorFlow Serving's REST as our own server speaks it."""
    handler = type("Handler", (_Rest,), {"models": {"one": Export(export)}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def _grpc(export):
    """A PredictionService by TensorFlow Serving's own protocol buffers."""
    grpc = pytest.importorskip("grpc", reason="the extra grpc is not installed")
    apis = pytest.importorskip("tensorflow_serving.apis")
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    assert apis
    signatures = tf.saved_model.load(export).signatures

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            if request.model_spec.name != "one":
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            function = signatures[request.model_spec.signature_name]
            given = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            try:
                outputs = function(**{k: tf.constant(v) for k, v in given.items()})
            except tf.errors.InvalidArgumentError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
            response = predict_pb2.PredictResponse()
            for key, value in outputs.items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return response

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("serve", [_rest, _grpc])
def test_the_client_embeds_as_the_export(export, serve):
    content = _wav()
    signature = tf.saved_model.load(export).signatures["serving_default"]
    expected = signature(wav_bytes=tf.constant([content, b"no\0"]))
    features = np.random.default_rng(0).uniform(0, 1, (2, 3, 12)).astype(np.float32)
    with serve(export) as address:
        found = client.predict(address, "one", {"wav_bytes": [content, b"no\0"]})
        assert found["valid"] == [True, False]
        assert found["reason"][0] == "" and found["reason"][1].startswith("not a WAV")
        embeddings = np.array(found["audio_embedding"])
        _assert_golden(embeddings, expected["audio_embedding"].numpy())
        asked = {"features_2d": features, "n_2d": np.array([3, 1], np.int32)}
        by_array = client.predict(address, "one", asked, "features")
        lists = {name: value.tolist() for name, value in asked.items()}
        by_list = client.predict(address, "one", lists, "features")
        assert by_array == by_list and by_array["valid"] == [True, True]
        with pytest.raises(client.RequestError, match="Servable not found"):
            client.predict(address, "none/such", {"wav_bytes": [content]})
        uneven = {**lists, "n_2d": [3]}
        with pytest.raises(client.RequestError, match="400, |INVALID_ARGUMENT, "):
            client.predict(address, "one", uneven, "features")
    with pytest.raises(client.RequestError):
        client.predict(address, "one", {"wav_bytes": [content]}, timeout_s=5)


def test_the_client_needs_nothing_of_ours(tmp_path):
    shutil.copy(client.__file__, tmp_path / "client.py")
    code = "import sys, client; print('tensorflow' in sys.modules or 'avl_tf' in sys"
    done = subprocess.run(
        [sys.executable, "-c", code + ".modules)"],
        cwd=tmp_path,
        env=_bare(),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n"


def test_a_server_that_is_none_is_told():
    class Odd(_Rest):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

    with http.server.HTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(client.RequestError, match="no answer of a model"):
            client.predict(address, "one", {"visual": [[0.0]]})
        server.shutdown()


def test_models_config_is_what_tensorflow_serving_reads(run_dir, export, tmp_path):
    text_format = pytest.importorskip("google.protobuf.text_format")
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    cascade = shutil.copytree(pathlib.Path(run_dir).parent, tmp_path / 'a "b\\ é')
    shutil.copytree(cascade / "one", cascade / "two")
    shutil.rmtree(cascade / "two" / "export")
    (cascade / "report").mkdir()
    path = models_config.write(str(cascade))
    found = text_format.Parse(
        pathlib.Path(path).read_text(), config.ModelServerConfig()
    )
    (one,) = found.model_config_list.config
    assert (one.name, one.model_platform) == ("one", "tensorflow")
    assert one.base_path == str(cascade / "one" / "export")
    assert os.path.isfile(os.path.join(one.base_path, "1", "saved_model.pb"))


def test_a_cascades_missing_exports_are_made(run_dir, tmp_path, monkeypatch):
    cascade = tmp_path / "demo"
    for name in ("one", "two"):
        runs.copy_settings(run_dir, runs.read_info(run_dir), str(cascade / name))
    (cascade / "one" / "export" / "1").mkdir(parents=True)
    made = []
    monkeypatch.setattr(
        serving, "export", lambda path, **options: made.append((path, options)) or path
    )
    two = str(cascade / "two")
    *written, config = serving.export_cascade(str(cascade), tflite=False, licence="")
    assert written == [two] and config == str(cascade / "models.config")
    assert made == [(two, {"tflite": False, "licence": ""})]
    written = serving.export_cascade(str(cascade), tflite=True, licence="")
    assert written == [str(cascade / "one"), two, config]
