"""An index of two videos that a tiny model finds by their sound, and who serves it.

Its vectors are made so that each window's own sound, and no other, finds it.
"""

import contextlib
import dataclasses
import functools
import os
import socket
import threading
import time

import corpus
import made_media
import numpy as np
import pytest
import uvicorn

from avl_tf import media, serving, trained, training
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.records import FeatureSpec
from avl_tf.retrieval.engine import Engine
from avl_tf.retrieval.entries import Embedded, ModelNote, Source, Span
from avl_tf.retrieval.writing import writing
from avl_tf.server import app
from avl_tf.server.site import Served
from avl_tf.settings.server import ServerConfig
from avl_tf.settings.stage import StageConfig

RATE = 16000
WINDOW_S, N_WINDOWS = 3.0, 2
COLOURS = [(220, 30, 30), (30, 200, 40), (40, 60, 220), (230, 220, 40)]
SMALL = {"audio_widths": (8, 8, 16), "embedding_dim": 64, "visual_scale": 20.0}


def sound(window, seconds=WINDOW_S):
    """A chord of its own for each of the four windows, the same all along."""
    tones = [300 * (window + 1) * k for k in (1, 2.5, 4)]
    return sum(made_media.sine(seconds, 0.2, RATE, hz) for hz in tones)


def make_index(folder):
    """Writes the videos a.mp4 and b.mp4, a run, and an index; returns their paths."""
    run_dir = _make_run(folder)
    embedder = trained.load(run_dir)
    windows = range(len(COLOURS))
    heard = embedder.embed_audio([(sound(one), RATE) for one in windows])
    apart = np.linalg.pinv(heard).T
    paths, index_dir = [], str(folder / "index")
    with writing(index_dir) as index:
        note = embedder.digest, embedder.embedding_dim, embedder.languages
        index.claim(ModelNote(run_dir, *note))
        for number, name in enumerate(("a.mp4", "b.mp4")):
            its = [N_WINDOWS * number + one for one in range(N_WINDOWS)]
            paths.append(_write_video(folder / name, its))
            size = os.path.getsize(paths[-1])
            spans = tuple(
                Span(WINDOW_S * k, WINDOW_S * (k + 1), f"window {its[k]}")
                for k in range(N_WINDOWS)
            )
            source = Source(paths[-1], name, name, "xx", size=size)
            vectors, steps = apart[its], np.zeros((0, 64))
            length_s = WINDOW_S * N_WINDOWS
            index.add([Embedded(source, length_s, spans, vectors, vectors, steps)])
    return index_dir, run_dir, paths


def _make_run(folder):
    random = np.random.default_rng(0)
    made = []
    for number in range(3):
        features = random.uniform(0, 1, (8, 1280)).astype(np.float16)
        record = corpus.make_record(f"r{number}")
        made.append(dataclasses.replace(record, features_2d=features))
    seen = {"features_2d": FeatureSpec("efficientnet_lite0", 1280, 1.0)}
    records = corpus.write_records(str(folder / "records"), made, n_shards=1, **seen)
    stage = StageConfig(records=records, epochs=0, batch_size=2)
    config = dataclasses.replace(training.base_model_config(stage, None), **SMALL)
    clips = ClipConfig(clip_s=2.0, clips_per_recording=2)
    evaluated = EvaluationConfig((f"x={records}",), evaluation_clip_s=2.0)
    run_dir = str(folder / "run")
    training.train_stage(run_dir, stage, clips, evaluated, config)
    return run_dir


def _write_video(path, windows):
    frames = [
        np.full((72, 96, 3), COLOURS[one], np.uint8)
        for one in windows
        for _ in range(round(WINDOW_S * 10))
    ]
    waveform = np.concatenate([sound(one) for one in windows]).astype(np.float32)
    media.write_video(path, frames, 10, waveform, RATE)
    return str(path)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The paths of an index, its model and its videos; the model has an export."""
    return _of_session(tmp_path_factory.getbasetemp())[0]


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    return _of_session(tmp_path_factory.getbasetemp())[1]


@functools.cache
def _of_session(folder):
    """Once for all modules, each of which has fixtures of its own."""
    (folder / "served").mkdir()
    paths = make_index(folder / "served")
    serving.export(paths[1])
    return paths, Engine.open(paths[0])


@pytest.fixture(scope="session")
def query(tmp_path_factory):
    """The sound of the second window of b.mp4 as a file."""
    path = tmp_path_factory.mktemp("query") / "query.wav"
    media.write_wav(path, sound(3, 4.0).astype(np.float32), RATE)
    return path


def make_app(engine, run_dir, folder, **config):
    """The app of two names of one index."""
    served = {name: Served(name, engine, run_dir) for name in ("first", "second")}
    return app.make(served, ServerConfig(**config), str(folder))


@contextlib.contextmanager
def running(made_app):
    """Serves an app in a thread; yields its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(made_app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
