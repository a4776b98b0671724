import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import wave

import corpus
import numpy as np
import pytest
import tensorflow as tf

import avl_tf
from avl_tf import audio, model, runs, serving, trained, training
from avl_tf.audio import AudioConfig
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.serving import checking, wav
from avl_tf.settings.stage import StageConfig


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    stage = StageConfig(
        records=corpus.make_set(str(folder / "records")),
        epochs=1,
        batch_size=32,
    )
    config = ModelConfig((12,), audio_widths=(8, 8, 16), embedding_dim=16)
    training.train_stage(
        str(folder / "run"), stage, ClipConfig(clip_s=2.0), EvaluationConfig(), config
    )
    serving.export(str(folder / "run"))
    return folder / "run"


@pytest.fixture(scope="module")
def signatures(run_dir):
    return tf.saved_model.load(str(run_dir / "export" / "1")).signatures


def _wav(waveform, rate=16000, n_channels=1):
    samples = np.round(np.asarray(waveform) * 32767).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as out:
        out.setnchannels(n_channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.repeat(samples, n_channels).tobytes())
    return content.getvalue()


def _noise(n_samples, seed=0):
    noise = np.random.default_rng(seed).uniform(-0.4, 0.4, n_samples)
    return (np.round(noise * 32767) / 32767).astype(np.float32)


def _expected(run_dir, waveform):
    restored, info = runs.load_model(str(run_dir))
    config = info.model.audio
    inputs = {
        "log_mel": audio.log_mel(waveform[np.newaxis], config),
        "n_frames": tf.constant([audio.n_frames(len(waveform), config)]),
    }
    return model.branch(restored, "audio")(inputs)[0]


def test_wav_waveform_and_log_mel_give_the_models_embedding(run_dir, signatures):
    waveform = _noise(16000)
    config = AudioConfig()
    log_mel = audio.log_mel(waveform[np.newaxis], config)
    found = [
        signatures["wav_bytes"](wav_bytes=tf.constant([_wav(waveform)])),
        signatures["serving_default"](
            wav_bytes=tf.constant([_wav(waveform, n_channels=2)])
        ),
        signatures["waveform"](
            waveform=tf.constant(waveform[np.newaxis]), n_samples=tf.constant([16000])
        ),
        signatures["log_mel"](log_mel=log_mel, n_frames=tf.constant([101])),
    ]
    expected = _expected(run_dir, waveform)
    for output in found:
        assert np.abs(output["audio_embedding"][0] - expected).max() < 1e-3


def test_a_batch_of_wavs_of_many_lengths_is_each_by_itself(signatures):
    """But for the padding, which reaches into the last frames as the authors'."""
    wavs = [_wav(_noise(n, seed=n)) for n in (16000, 8000, 300)]
    together = signatures["wav_bytes"](wav_bytes=tf.constant(wavs))[
        "audio_embedding"
    ].numpy()
    assert together.shape == (3, 16)
    alone = signatures["wav_bytes"](wav_bytes=tf.constant(wavs[:1]))[
        "audio_embedding"
    ].numpy()
    assert np.abs(together[0] - alone[0]).max() < 1e-3
    assert np.isfinite(together).all()


def test_a_bad_wav_leaves_the_rest_of_its_batch_alone(signatures):
    good = _wav(_noise(16000))
    wavs = tf.constant([good, b"no wav at all", good[:1000]])
    found = signatures["serving_default"](wav_bytes=wavs)
    assert found["valid"].numpy().tolist() == [True, False, False]
    reasons = [reason.decode() for reason in found["reason"].numpy()]
    assert reasons[0] == "" and reasons[1].startswith("not a WAV file: convert it by")
    assert "cut off" in reasons[2]
    alone = signatures["wav_bytes"](wav_bytes=wavs[:1])["audio_embedding"]
    # Another size of batch may add up in another order (docs/reliability.md).
    limit = 1e-4 * np.abs(alone).max()
    np.testing.assert_allclose(found["audio_embedding"][:1], alone, atol=limit)
    assert not found["audio_embedding"].numpy()[1:].any()


def test_arrays_of_unlike_numbers_of_items_are_an_error_of_the_export(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match="unlike numbers of item"):
        signatures["waveform"](
            waveform=tf.zeros([1, 900]), n_samples=tf.constant([900, 900])
        )


def test_the_door_names_what_an_export_cannot_embed(run_dir, monkeypatch):
    loaded = avl_tf.load(run_dir / "export" / "1")
    log_mel = np.zeros((3, 200, 40), np.float32)
    log_mel[2, 5] = np.nan
    batch = {
        "log_mel": tf.constant(log_mel),
        "n_frames": tf.constant([200] * 3),
        "visual": tf.ones([3, 12]),
        "clip_id": tf.constant(["a", "b", "c"]),
    }
    with pytest.raises(UserError, match="clip c cannot be embedded: .*NaN"):
        loaded.embed(batch)
    clip, n_clips = trained.sources.clip, itertools.count()

    def broken_at_66(*given):
        made = clip(*given)
        factor = np.nan if next(n_clips) == 66 else 1.0
        return {**made, "log_mel": factor * made["log_mel"]}

    monkeypatch.setattr(trained.sources, "clip", broken_at_66)
    with pytest.raises(UserError, match=r"source 66 of 70 \(an array\) cannot .*NaN"):
        loaded.embed_audio([(_noise(300), 16000)] * 70)


def test_an_export_of_before_valid_is_loaded(run_dir, tmp_path, monkeypatch):
    def older(name, embedding, reason):
        return {name: embedding}

    monkeypatch.setattr(serving.signatures.faults, "answer", older)
    shutil.copytree(run_dir, tmp_path / "run")
    path = serving.export(str(tmp_path / "run"))
    assert set(tf.saved_model.load(path).signatures["visual"].structured_outputs) == {
        "visual_embedding"
    }
    source = (_noise(16000), 16000)
    found = avl_tf.load(path).embed_audio(source)
    assert np.abs(found - avl_tf.load(run_dir).embed_audio(source)).max() < 1e-3


def test_visual_features_give_the_models_embedding(run_dir, signatures):
    features = np.random.default_rng(1).uniform(0, 1, (2, 5, 12)).astype(np.float32)
    n_steps = np.array([5, 2], np.int32)
    found = signatures["features"](
        features_2d=tf.constant(features), n_2d=tf.constant(n_steps)
    )["visual_embedding"]
    restored, _ = runs.load_model(str(run_dir))
    unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
    pooled = np.stack([unit[0].max(0), unit[1, :2].max(0)])
    pooled /= np.linalg.norm(pooled, axis=-1, keepdims=True)
    expected = model.branch(restored, "visual")({"visual": pooled})
    assert np.abs(found - expected).max() < 1e-4
    found = signatures["visual"](visual=tf.constant(pooled))["visual_embedding"]
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_other_sample_rates_are_resampled(rate):
    """Tones that both rates hold come out as if sampled at 16 kHz."""

    def tones(at_hz):
        t = np.arange(int(0.7 * at_hz)) / at_hz
        fade = np.sin(np.pi * np.clip(t / 0.7, 0, 1)) ** 2
        return fade * sum(0.2 * np.sin(2 * np.pi * f * t) for f in (220, 1500, 3300))

    found = wav.decode(tf.constant(_wav(tones(rate), rate)), 16000)[0].numpy()
    expected = tones(16000)
    assert abs(len(found) - len(expected)) <= 1
    n = min(len(found), len(expected))
    assert np.abs(found[:n] - expected[:n]).max() < 2e-3


def test_the_export_needs_nothing_but_tensorflow(run_dir, tmp_path):
    """A bare process, without this project and without Keras, embeds a file."""
    waveform = _noise(16000)
    (tmp_path / "mine.wav").write_bytes(_wav(waveform))
    script = """
import json, sys
for name in ("keras", "tf_keras", "avl_tf"):
    sys.modules[name] = None
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
wav = tf.io.read_file(sys.argv[2])
output = loaded.signatures["wav_bytes"](wav_bytes=tf.expand_dims(wav, 0))
print(json.dumps(output["audio_embedding"][0].numpy().tolist()))
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    arguments = [str(run_dir / "export" / "1"), str(tmp_path / "mine.wav")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=tmp_path,
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert np.abs(found - _expected(run_dir, waveform)).max() < 1e-3


def test_a_second_export_stands_beside_the_first(run_dir, monkeypatch):
    """It takes one tracing a signature, and one process."""
    traced, started = [], []

    def counted(name, function):
        def trace(*arguments):
            traced.append(name)
            return function(*arguments)

        return trace

    for maker in ("of_audio", "of_features"):
        make = getattr(serving.signatures, maker)

        def made(*arguments, make=make):
            found = make(*arguments).items()
            return {name: (counted(name, of), given) for name, (of, given) in found}

        monkeypatch.setattr(serving.signatures, maker, made)
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k)
    )
    first = (run_dir / "export" / "1" / "saved_model.pb").read_bytes()
    assert serving.export(str(run_dir)) == f"{run_dir}/export/2"
    assert sorted(p.name for p in run_dir.glob("export*/*")) == ["1", "2"]
    loaded = tf.saved_model.load(str(run_dir / "export" / "2")).signatures
    assert sorted([*traced, "serving_default"]) == sorted(loaded)
    assert len(started) == 1
    assert (run_dir / "export" / "1" / "saved_model.pb").read_bytes() == first


def test_a_wrong_export_is_an_error_and_not_kept(run_dir, monkeypatch):
    before = sorted(run_dir.rglob("*"))
    real = checking._embed_in_bare_process

    def off(path, given, encoded):
        found = real(path, given, encoded)
        return {**found, "visual": found["visual"] * (1 + 1e-4)}

    monkeypatch.setattr(checking, "_embed_in_bare_process", off)
    with pytest.raises(ValueError, match="'visual' is off by 0.0001 .*not kept"):
        serving.export(str(run_dir))
    assert sorted(run_dir.rglob("*")) == before


def test_an_export_that_a_bare_process_cannot_load_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="only TensorFlow.*not kept"):
        checking._embed_in_bare_process(str(tmp_path / "nothing"), {}, {})


@pytest.mark.parametrize("kind", ["run", "export"])
def test_audio_steps_are_the_head_of_each_step(run_dir, kind):
    folder = run_dir if kind == "run" else run_dir / "export" / "1"
    embedder = trained.load(str(folder))
    heard = embedder.embed_audio_steps((_noise(24000), 16000))
    (embedding,) = embedder.embed_audio((_noise(24000), 16000))
    assert heard.step_s == pytest.approx(0.04)  # two stages of 10 ms frames
    assert heard.steps.shape == (37, 16) and heard.steps.dtype == np.float32
    np.testing.assert_allclose(heard.embedding, embedding, rtol=1e-5, atol=1e-6)
    # Of a single step there is nothing to pool.
    short = embedder.embed_audio_steps((_noise(700), 16000))
    (alone,) = embedder.embed_audio((_noise(700), 16000))
    assert short.steps.shape == (1, 16)
    np.testing.assert_allclose(short.steps[0], alone, rtol=1e-4, atol=1e-6)
    assert np.abs(heard.steps - heard.steps.mean(0)).max() > 1e-4


def test_audio_steps_of_a_batch_and_of_what_is_none(run_dir, signatures):
    config = AudioConfig()
    log_mel = audio.log_mel(np.stack([_noise(16000)] * 3), config)
    lengths = tf.constant([101, 40, 0])
    found = signatures["log_mel_steps"](log_mel=log_mel, n_frames=lengths)
    alone = signatures["log_mel"](log_mel=log_mel, n_frames=lengths)
    assert found["valid"].numpy().tolist() == [True, True, False]
    assert found["n_steps"].numpy().tolist() == [25, 10, 0]
    assert int(found["step_frames"]) == 4 and found["audio_steps"].shape[0] == 3
    np.testing.assert_array_equal(found["audio_steps"][2], 0)
    np.testing.assert_allclose(
        found["audio_embedding"], alone["audio_embedding"], rtol=1e-5, atol=1e-7
    )


def test_an_export_from_before_has_no_audio_steps(run_dir, tmp_path):
    embedder = trained.load(str(run_dir / "export" / "1"))
    embedder.step_towers.clear()
    heard = embedder.embed_audio_steps((_noise(24000), 16000))
    assert heard.steps is None
    (embedding,) = embedder.embed_audio((_noise(24000), 16000))
    np.testing.assert_array_equal(heard.embedding, embedding)
