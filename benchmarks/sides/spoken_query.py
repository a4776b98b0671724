"""A spoken query of 10 s: a WAV file to its first ten clips, or the forward pass alone.

Settings: folder: of the model and the index, made if they are not there; model (of
ModelConfig); n: windows; work: "search", "plain" (not reranked) or "forward".
"""

import os
import wave

import keras
import numpy as np
import tensorflow as tf

from avl_tf import files, runs, trained
from avl_tf.model import ModelConfig, build_model
from avl_tf.retrieval import ModelNote
from avl_tf.retrieval.engine import Engine
from benchmarks import made_index, made_run
from benchmarks.inputs import waveforms
from benchmarks.side import Work, serve

_SECONDS, _RATE_HZ = 10, 16000


def prepare(settings: dict) -> Work:
    folder = settings["folder"]
    run_dir, index = os.path.join(folder, "run"), os.path.join(folder, "index")
    _make_run(run_dir, ModelConfig(**settings["model"]))
    embedder = trained.load(run_dir)
    note = ModelNote(run_dir, embedder.digest, embedder.embedding_dim)
    made_index.make(index, settings["n"], embedder.embedding_dim, note, True)
    query = os.path.join(folder, "query.wav")
    _write_wav(query)
    if settings["work"] == "forward":
        config = ModelConfig(**settings["model"])
        n_frames = 1 + _SECONDS * 100
        log_mel = tf.random.uniform([1, n_frames, config.audio.n_mels], -80, 0)
        batch = {"log_mel": log_mel, "n_frames": tf.constant([n_frames])}

        def forward():
            embedder.embed(batch, {"audio": "audio"})["audio"].numpy()
            return {}

        return forward
    engine = Engine.open(index)

    def work():
        rerank = settings["work"] == "search"
        return {"n_hits": len(engine.search(query, rerank=rerank).hits)}

    return work


def _make_run(run_dir: str, config: ModelConfig) -> None:
    if os.path.exists(run_dir):
        return
    keras.utils.set_random_seed(0)
    made_run.write(run_dir, build_model(config), config)
    # What is heard of a query: all of it, and no more.
    flags = f"--evaluation_clip_s={_SECONDS}\n"
    files.write_text(files.join(run_dir, runs.FLAGS), flags)


def _write_wav(path: str) -> None:
    samples = waveforms(1, _SECONDS * _RATE_HZ)[0] * 32767
    with wave.open(path, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(_RATE_HZ)
        out.writeframes(np.round(samples).astype("<i2").tobytes())


if __name__ == "__main__":
    serve(prepare)
